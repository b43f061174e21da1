//! Errors of DynamoDB, classified as transient or permanent.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use poa_core::{BuildError, DeliveryError};

/// The location of the table for messages: a region or a URL.
pub(crate) type Place = std::sync::Arc<str>;

/// The reason why a table cannot be used, or items cannot be stored.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("table `{table}` in {place} does not exist; create it, or set `create_table = true`")]
    NoTable { table: String, place: Place },
    #[error(
        "table `{table}` in {place} has the keys {found}; it needs the partition key `msg_type` and the sort key `msg_time`, both strings (S): set `table` to another table"
    )]
    WrongKeys { table: String, place: Place, found: String },
    #[error("table `{table}` in {place} is {status}; retrying until it is ACTIVE")]
    NotActive { table: String, place: Place, status: String },
    #[error(
        "DynamoDB in {place} throttles table `{table}`: {cause}; raise the capacity of the table"
    )]
    Throttled { table: String, place: Place, cause: String },
    #[error(
        "there are no credentials for DynamoDB in {place}: {cause}; set `access_key_id` and `secret_access_key`, or provide them by the environment, the AWS profile or the machine"
    )]
    NoCredentials { place: Place, cause: String },
    #[error(
        "cannot get the credentials for DynamoDB in {place}: {cause}; check their source: the program of the profile, the container, the machine; retrying"
    )]
    CredentialsNotHad { place: Place, cause: String },
    #[error(
        "DynamoDB in {place} refuses the credentials: {cause}; check the access key and the clock of this machine, and that \
         the key may call DescribeTable, BatchWriteItem, PutItem (not with `shared`) and, with `create_table`, CreateTable on table \
         `{table}`"
    )]
    Denied { table: String, place: Place, cause: String },
    #[error(
        "cannot reach DynamoDB in {place}: {cause}; check that it is running, and check `region` and `endpoint`"
    )]
    Unreachable { place: Place, cause: String },
    #[error(
        "table `{table}` in {place} is full: {cause}; because it has a local secondary index, DynamoDB stores at most 10 GB of blocks in it: set `table` to a table without such an index"
    )]
    Full { table: String, place: Place, cause: String },
    #[error(
        "DynamoDB in {place} needs longer than {limit:?} for a batch of table `{table}`; the rest of the batch follows"
    )]
    Slow { table: String, place: Place, limit: Duration },
    #[error("DynamoDB in {place} refuses the request for table `{table}`: {cause}")]
    Invalid { table: String, place: Place, cause: String },
    #[error("DynamoDB in {place} cannot serve table `{table}`: {cause}; retrying")]
    Other { table: String, place: Place, cause: String },
}

impl StoreError {
    /// Classifies an error of the SDK by its remedy.
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
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "OptInRequired" => Self::Denied { table, place, cause },
            // An unreadable request is an error of the item, like one that breaks a rule.
            "ValidationException" | "SerializationException" => {
                Self::Invalid { table, place, cause }
            }
            "ItemCollectionSizeLimitExceededException" => Self::Full { table, place, cause },
            _ => Self::Other { table, place, cause },
        }
    }

    /// An error from before the request was sent, or after its answer was lost.
    fn of_client(error: &(dyn Error + 'static), place: Place) -> Self {
        let cause = chain(error);
        match causes(error).find_map(|error| error.downcast_ref()) {
            Some(
                CredentialsError::CredentialsNotLoaded(_)
                | CredentialsError::InvalidConfiguration(_),
            ) => Self::NoCredentials { place, cause },
            Some(_) => Self::CredentialsNotHad { place, cause },
            None => Self::Unreachable { place, cause },
        }
    }

    /// True when a retry of the same request can succeed.
    pub(crate) fn is_throttling(&self) -> bool {
        matches!(self, Self::Throttled { .. })
    }

    /// True when the table is gone or was replaced: then the stored items are gone, too.
    pub(crate) fn is_another_table(&self) -> bool {
        matches!(self, Self::NoTable { .. } | Self::WrongKeys { .. })
    }
}

/// The causes of an error, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    // The outermost error only names a part of the SDK.
    for cause in causes(error).skip(1) {
        let text = cause.to_string();
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

/// An error and its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

impl From<StoreError> for DeliveryError {
    /// None of these is the fault of a message: people or time cure them, and then the messages are stored.
    fn from(error: StoreError) -> Self {
        Self::transient(error)
    }
}

impl From<StoreError> for BuildError {
    /// An error that needs a change of the configuration, the account or the table ends the start; the others pass.
    fn from(error: StoreError) -> Self {
        use StoreError as E;
        let message = error.to_string();
        match error {
            E::NoTable { .. }
            | E::WrongKeys { .. }
            | E::NoCredentials { .. }
            | E::Denied { .. }
            | E::Invalid { .. } => Self::failed(message),
            E::NotActive { .. }
            | E::Throttled { .. }
            | E::CredentialsNotHad { .. }
            | E::Unreachable { .. }
            | E::Full { .. }
            | E::Slow { .. }
            | E::Other { .. } => Self::unavailable(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemError;

    use super::*;

    fn of_service(code: &str) -> StoreError {
        StoreError::of_service(code, format!("{code}: so"), "blocks".into(), "here".into())
    }

    fn of_credentials(error: CredentialsError) -> StoreError {
        let error: SdkError<BatchWriteItemError, ()> = SdkError::construction_failure(error);
        StoreError::new("blocks", &"here".into(), error)
    }

    #[test]
    fn what_cannot_be_read_is_looked_for_like_what_breaks_a_rule() {
        for code in ["ValidationException", "SerializationException"] {
            assert!(matches!(of_service(code), StoreError::Invalid { .. }), "{code}");
        }
    }

    #[test]
    fn a_full_table_names_the_cure() {
        let error = of_service("ItemCollectionSizeLimitExceededException");
        assert!(
            error.to_string().contains("set `table` to a table without such an index"),
            "{error}"
        );
        assert!(!error.is_another_table() && !error.is_throttling());
    }

    #[test]
    fn old_credentials_are_refused_ones() {
        for code in ["ExpiredTokenException", "RequestExpired", "AccessDeniedException"] {
            assert!(matches!(of_service(code), StoreError::Denied { .. }), "{code}");
        }
    }

    #[test]
    fn credentials_that_nobody_gives_are_no_network_error() {
        let error = of_credentials(CredentialsError::provider_error("the program ended with 1"));
        let text = error.to_string();
        assert!(text.starts_with("cannot get the credentials for DynamoDB in here: "), "{text}");
        assert!(text.contains("the program ended with 1"), "{text}");
        let late = CredentialsError::provider_timed_out(Duration::from_secs(5));
        assert!(matches!(of_credentials(late), StoreError::CredentialsNotHad { .. }));
        assert!(matches!(BuildError::from(error), BuildError::Unavailable(..)));
        let none = of_credentials(CredentialsError::not_loaded("there are none"));
        assert!(matches!(BuildError::from(none), BuildError::Failed(..)));
    }
}
