//! What every batch has in common: its bound, its outcomes, and the second try of contended items.

use sealpost_proto::vault::v1::Refusal;

use super::MAX_BATCH;
use crate::VaultError;

/// What became of an item.
pub(super) type Outcome<T> = Result<T, Refusal>;

/// Refuses a batch that is too long.
///
/// # Errors
/// [`VaultError::Malformed`].
pub(super) fn check_len(len: usize) -> Result<(), VaultError> {
    if len > MAX_BATCH {
        Err(VaultError::malformed("items", "more than 256"))
    } else {
        Ok(())
    }
}

/// The same refusal for every item.
pub(super) fn all<T>(len: usize, refusal: Refusal) -> Vec<Outcome<T>> {
    (0..len).map(|_| Err(refusal)).collect()
}

/// Runs a batch of `len` items, and those once more that another writer got in the way of. When nobody knows whether the
/// transaction was committed, its outcomes are gone and every item is contended.
///
/// # Errors
/// What failed the whole batch.
pub(super) async fn run<T, F>(
    len: usize,
    mut once: impl FnMut(Vec<usize>) -> F,
) -> Result<Vec<Outcome<T>>, VaultError>
where
    F: Future<Output = Result<Vec<Outcome<T>>, VaultError>>,
{
    let mut outcomes = match once((0..len).collect()).await {
        // Nothing was written: what one of them wanted, a prekey, another writer had taken.
        Err(VaultError::Contention) => all(len, Refusal::Contention),
        Err(error) if error.is_transient() => return Ok(all(len, Refusal::Contention)),
        done => done?,
    };
    let contended: Vec<usize> = (0..len)
        .filter(|at| matches!(outcomes.get(*at), Some(Err(Refusal::Contention))))
        .collect();
    if contended.is_empty() {
        return Ok(outcomes);
    }
    let again = match once(contended.clone()).await {
        Err(error) if error.is_transient() => all(contended.len(), Refusal::Contention),
        done => done?,
    };
    for (at, outcome) in contended.into_iter().zip(again) {
        if let Some(slot) = outcomes.get_mut(at) {
            *slot = outcome;
        }
    }
    Ok(outcomes)
}

/// Counts outcomes; what was refused, by reason.
pub(super) fn count<T>(rpc: &'static str, outcomes: &[Outcome<T>]) {
    for outcome in outcomes {
        let outcome = match outcome {
            Ok(_) => "done",
            Err(refusal) => refusal.as_str_name(),
        };
        metrics::counter!("sealpost_vault_items_total", "rpc" => rpc, "outcome" => outcome)
            .increment(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_database::DatabaseError;

    use super::*;

    #[tokio::test]
    async fn contended_items_alone_are_tried_once_more() {
        let mut tries = Vec::new();
        let outcomes = run(4, |items: Vec<usize>| {
            tries.push(items.clone());
            let first = tries.len() == 1;
            async move {
                let outcome = |at: usize| match at {
                    1 | 3 if first => Err(Refusal::Contention),
                    3 => Err(Refusal::Contention),
                    at => Ok(at),
                };
                Ok(items.into_iter().map(outcome).collect())
            }
        })
        .await
        .unwrap();
        assert_eq!(outcomes, [Ok(0), Ok(1), Ok(2), Err(Refusal::Contention)]);
        assert_eq!(tries, [vec![0, 1, 2, 3], vec![1, 3]]);
    }

    #[tokio::test]
    async fn an_unknown_outcome_leaves_nothing_but_contention_and_is_not_repeated() {
        let mut tries = 0;
        let outcomes: Vec<Outcome<()>> = run(2, |_| {
            tries += 1;
            async { Err(DatabaseError::UnknownOutcome(None).into()) }
        })
        .await
        .unwrap();
        assert_eq!(outcomes, [Err(Refusal::Contention); 2]);
        assert_eq!(tries, 1);
    }

    #[tokio::test]
    async fn another_failure_fails_the_batch() {
        let done: Result<Vec<Outcome<()>>, _> =
            run(2, |_| async { Err(VaultError::Stopped) }).await;
        assert!(matches!(done, Err(VaultError::Stopped)));
    }
}
