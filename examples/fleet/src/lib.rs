//! Many simulated agents: a load generator with realistic metrics.
