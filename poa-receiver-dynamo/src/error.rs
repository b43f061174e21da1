//! What can go wrong with DynamoDB, and whether it may work later.

use std::error::Error;
use std::fmt;
use std::time::Duration;

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
        "the credentials for DynamoDB in {place} cannot be had: {cause}; is what gives them there: the program of the profile, the \
         container, the machine? They are asked for again"
    )]
    CredentialsNotHad { place: Place, cause: String },
    #[error(
        "DynamoDB in {place} refuses the credentials: {cause}; check the access key and the clock of this machine, and that \
         the key may call DescribeTable, BatchWriteItem, PutItem (not with `shared`) and, with `create_table`, CreateTable on table \
         `{table}`"
    )]
    Denied { table: String, place: Place, cause: String },
    #[error(
        "cannot reach DynamoDB in {place}: {cause}; is it running, and are `region` and `endpoint` right?"
    )]
    Unreachable { place: Place, cause: String },
    #[error(
        "table `{table}` in {place} is full: {cause}; it has a local secondary index, and then DynamoDB keeps no more than 10 GB of \
         blocks in it: name a table without such an index as `table`"
    )]
    Full { table: String, place: Place, cause: String },
    #[error(
        "DynamoDB in {place} needs longer than {limit:?} for a batch of table `{table}`; what is stored of it stays, and the rest follows"
    )]
    Slow { table: String, place: Place, limit: Duration },
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
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "OptInRequired" => Self::Denied { table, place, cause },
            // What cannot be read is to blame as much as what breaks a rule.
            "ValidationException" | "SerializationException" => {
                Self::Invalid { table, place, cause }
            }
            "ItemCollectionSizeLimitExceededException" => Self::Full { table, place, cause },
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
            Some(_) => Self::CredentialsNotHad { place, cause },
            None => Self::Unreachable { place, cause },
        }
    }

    /// True when the same request may do soon.
    pub(crate) fn is_throttling(&self) -> bool {
        matches!(self, Self::Throttled { .. })
    }

    /// True when the table is gone, or another one: then so is what was stored in it.
    pub(crate) fn is_another_table(&self) -> bool {
        matches!(self, Self::NoTable { .. } | Self::WrongKeys { .. })
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
        assert!(error.to_string().contains("name a table without such an index"), "{error}");
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
        assert!(text.starts_with("the credentials for DynamoDB in here cannot be had: "), "{text}");
        assert!(text.contains("the program ended with 1"), "{text}");
        let late = CredentialsError::provider_timed_out(Duration::from_secs(5));
        assert!(matches!(of_credentials(late), StoreError::CredentialsNotHad { .. }));
        assert!(matches!(BuildError::from(error), BuildError::Unavailable(..)));
        let none = of_credentials(CredentialsError::not_loaded("nobody has any"));
        assert!(matches!(BuildError::from(none), BuildError::Failed(..)));
    }
}
