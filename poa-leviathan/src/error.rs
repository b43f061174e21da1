//! Errors of requests and of the host.

use std::fmt;

/// The kind of a failure. The texts of [`as_str`](Self::as_str) are part of the REST interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it, and `as_str` is what clients see")]
pub enum Code {
    InvalidJson,
    MissingField,
    WrongType,
    NotFound,
    UnknownCen,
    UnknownCin,
    UnknownContainer,
    UnknownHost,
    NotAMember,
    Busy,
    CenInUse,
    CenNotReady,
    CenAlreadyInCin,
    NoInterfaceNumberLeft,
    IpRangeExhausted,
    ForeignInterface,
    InvalidIdentifier,
    NameTooLong,
    ReservedName,
    DuplicateCen,
    DuplicateContainer,
    CinWithoutCen,
    InvalidStartWith,
    Internal,
    DockerUnavailable,
    Timeout,
    Interrupted,
}

impl Code {
    /// The code as clients see it, such as `unknown_cen`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::NotFound => "not_found",
            Self::UnknownCen => "unknown_cen",
            Self::UnknownCin => "unknown_cin",
            Self::UnknownContainer => "unknown_container",
            Self::UnknownHost => "unknown_host",
            Self::NotAMember => "not_a_member",
            Self::Busy => "busy",
            Self::CenInUse => "cen_in_use",
            Self::CenNotReady => "cen_not_ready",
            Self::CenAlreadyInCin => "cen_already_in_cin",
            Self::NoInterfaceNumberLeft => "no_interface_number_left",
            Self::IpRangeExhausted => "ip_range_exhausted",
            Self::ForeignInterface => "foreign_interface",
            Self::InvalidIdentifier => "invalid_identifier",
            Self::NameTooLong => "name_too_long",
            Self::ReservedName => "reserved_name",
            Self::DuplicateCen => "duplicate_cen",
            Self::DuplicateContainer => "duplicate_container",
            Self::CinWithoutCen => "cin_without_cen",
            Self::InvalidStartWith => "invalid_start_with",
            Self::Internal => "internal",
            Self::DockerUnavailable => "docker_unavailable",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request was refused or an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    code: Code,
    message: String,
    details: Vec<String>,
}

impl Error {
    /// An error of this kind. `message` names the thing, the cause and, where there is one, the cure.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// The same error with the identifiers it is about.
    #[must_use]
    pub fn with_details<T: ToString>(mut self, details: impl IntoIterator<Item = T>) -> Self {
        self.details = details.into_iter().map(|detail| detail.to_string()).collect();
        self
    }

    /// A fault of this program or of the system below it.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The kind of the failure.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The identifiers that the error is about.
    #[must_use]
    pub fn details(&self) -> &[String] {
        &self.details
    }
}
