//! What can go wrong with DynamoDB, and whether it may work later.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use poa_core::{BuildError, DeliveryError};

/// Where the table is, for people: a region or a URL.
pub(crate) type Place = std::sync::Arc<str>;

/// Why a table could not be used, or items not be stored.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("table `{table}` in {place} does not exist; create it, or set `create_table = true`")]
    NoTable { table: String, place: Place },
    #[error(
        "table `{table}` in {place} has the keys {found}; it needs the partition key `msg_type` and the sort key `msg_time`, \
         both text (S): name another table as `table`"
    )]
    WrongKeys { table: String, place: Place, found: String },
    #[error("table `{table}` in {place} is {status}; it is tried again until it is ACTIVE")]
    NotActive { table: String, place: Place, status: String },
    #[error(
        "DynamoDB in {place} throttles table `{table}`: {cause}; raise the capacity of the table"
    )]
    Throttled { table: String, place: Place, cause: String },
    #[error(
        "there are no credentials for DynamoDB in {place}: {cause}; set `access_key_id` and `secret_access_key`, or give them to \
         the environment, the AWS profile or the machine"
    )]
    NoCredentials { place: Place, cause: String },
    #[error(
        "DynamoDB in {place} refuses the credentials: {cause}; check the access key and the clock of this machine, and that \
         the key may call DescribeTable, BatchWriteItem and, with `create_table`, CreateTable on table `{table}`"
    )]
    Denied { table: String, place: Place, cause: String },
    #[error(
        "cannot reach DynamoDB in {place}: {cause}; is it running, and are `region` and `endpoint` right?"
    )]
    Unreachable { place: Place, cause: String },
    #[error("DynamoDB in {place} refuses the request for table `{table}`: {cause}")]
    Invalid { table: String, place: Place, cause: String },
    #[error("DynamoDB in {place} cannot serve table `{table}`: {cause}; it is tried again")]
    Other { table: String, place: Place, cause: String },
}

impl StoreError {
    /// Sorts an error of the SDK by what can be done about it.
    pub(crate) fn new<E, R>(table: &str, place: &Place, error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug + 'static,
    {
        let (table, place) = (table.to_owned(), place.clone());
        match &error {
            SdkError::ServiceError(service) => {
                let error = service.err();
                let code = error.code().unwrap_or("unknown error");
                let cause = match error.message() {
                    Some(message) => format!("{code}: {message}"),
                    None => code.to_owned(),
                };
                Self::of_service(code, cause, table, place)
            }
            _ => Self::of_client(&error, place),
        }
    }

    fn of_service(code: &str, cause: String, table: String, place: Place) -> Self {
        match code {
            "ResourceNotFoundException" => Self::NoTable { table, place },
            "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "ThrottledException" => Self::Throttled { table, place, cause },
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "AccessDeniedException"
            | "OptInRequired" => Self::Denied { table, place, cause },
            "ValidationException" => Self::Invalid { table, place, cause },
            _ => Self::Other { table, place, cause },
        }
    }

    /// An error from before the request was sent, or from after its answer was lost.
    fn of_client(error: &(dyn Error + 'static), place: Place) -> Self {
        let cause = chain(error);
        match causes(error).find_map(|error| error.downcast_ref()) {
            Some(
                CredentialsError::CredentialsNotLoaded(_)
                | CredentialsError::InvalidConfiguration(_),
            ) => Self::NoCredentials { place, cause },
            _ => Self::Unreachable { place, cause },
        }
    }

    /// True when the same request may do soon.
    pub(crate) fn is_throttling(&self) -> bool {
        matches!(self, Self::Throttled { .. })
    }
}

/// What an error says is its cause, in a line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    // The outermost only says in which part of the SDK it happened.
    for cause in causes(error).skip(1) {
        let text = cause.to_string();
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

/// An error and its causes, from the outside in.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

impl From<StoreError> for DeliveryError {
    /// No message is to blame for any of these; people or time mend them, and then the messages are stored.
    fn from(error: StoreError) -> Self {
        Self::transient(error)
    }
}

impl From<StoreError> for BuildError {
    /// What only a change of the configuration, the account or the table mends ends the start; the rest heals by itself.
    fn from(error: StoreError) -> Self {
        use StoreError as E;
        let message = error.to_string();
        match error {
            E::NoTable { .. }
            | E::WrongKeys { .. }
            | E::NoCredentials { .. }
            | E::Denied { .. }
            | E::Invalid { .. } => Self::failed(message),
            E::NotActive { .. } | E::Throttled { .. } | E::Unreachable { .. } | E::Other { .. } => {
                Self::unavailable(message)
            }
        }
    }
}
