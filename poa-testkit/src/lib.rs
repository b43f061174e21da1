//! Contract tests, fakes and a one-message host for authors of poa plugins
