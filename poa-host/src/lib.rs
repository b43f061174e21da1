//! From a TOML file to a running poa host: configuration, admin listener, commands
