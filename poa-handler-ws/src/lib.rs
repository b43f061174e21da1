//! The POA Protocol over WebSocket.
