//! The HTTP listener that poa handlers share: limits, TLS, ordered shutdown
