//! The POA Protocol over REST
