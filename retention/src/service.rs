//! Retention's gRPC face: reads requests, calls the jobs or the datastore, writes answers.

use sealpost_proto::retention::v1::{
    ForgetNumberRequest, ForgetNumberResponse, ForgetSubjectRequest, ForgetSubjectResponse,
    ListReceiptsRequest, ListReceiptsResponse, ListRunsRequest, ListRunsResponse, Run as WireRun,
    RunNowRequest, RunNowResponse, ServiceRows, StoredReceipt,
    retention_service_server::{RetentionService, RetentionServiceServer},
};
use sealpost_runtime::{MAX_MESSAGE_BYTES, Timestamp};
use tonic::{Request, Response, Status};

use crate::{
    datastore::Datastore,
    error::RetentionError,
    jobs::Jobs,
    tables::{receipts::Kept, runs::Run},
};

const DEFAULT_PAGE: u64 = 100;
const MAX_PAGE: u32 = 1_000;

/// The service over the jobs and their records.
#[derive(Clone, Debug)]
pub struct Retention {
    jobs: Jobs,
    datastore: Datastore,
}

impl Retention {
    /// Serves `jobs` and what `datastore` remembers of them.
    #[must_use]
    pub fn new(jobs: Jobs, datastore: Datastore) -> Self {
        Self { jobs, datastore }
    }

    /// As tonic serves it, with our bound on requests.
    #[must_use]
    pub fn into_server(self) -> RetentionServiceServer<Self> {
        RetentionServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl RetentionService for Retention {
    async fn run_now(
        &self,
        request: Request<RunNowRequest>,
    ) -> Result<Response<RunNowResponse>, Status> {
        let RunNowRequest { dry_run, again } = request.into_inner();
        if dry_run && again {
            return Err(RetentionError::Malformed("again", "goes not with dry_run").into());
        }
        if again {
            self.jobs.take_up_again().await?;
        }
        let (run, findings) = self.jobs.run(dry_run).await?;
        let rows = findings.rows.into_iter();
        Ok(Response::new(RunNowResponse {
            run: Some(wire_run(run)),
            rows: rows
                .map(|((service, table), rows)| ServiceRows {
                    service,
                    table,
                    rows,
                })
                .collect(),
            epochs: findings
                .epochs
                .iter()
                .map(|epoch| epoch.to_wire())
                .collect(),
        }))
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let request = request.into_inner();
        let (before, limit) = page(request.before, request.page_size)?;
        let runs = self.datastore.runs_list(before, limit).await?;
        Ok(Response::new(ListRunsResponse {
            runs: runs.into_iter().map(wire_run).collect(),
        }))
    }

    async fn list_receipts(
        &self,
        request: Request<ListReceiptsRequest>,
    ) -> Result<Response<ListReceiptsResponse>, Status> {
        let request = request.into_inner();
        let (before, limit) = page(request.before, request.page_size)?;
        let receipts = self.datastore.receipts_list(before, limit).await?;
        Ok(Response::new(ListReceiptsResponse {
            receipts: receipts.into_iter().map(wire_receipt).collect(),
        }))
    }

    async fn forget_subject(
        &self,
        request: Request<ForgetSubjectRequest>,
    ) -> Result<Response<ForgetSubjectResponse>, Status> {
        let receipt = request.into_inner().receipt;
        let receipt = receipt.ok_or(RetentionError::Malformed("receipt", "is missing"))?;
        let store_rows_deleted = self.jobs.forget(receipt).await?;
        Ok(Response::new(ForgetSubjectResponse { store_rows_deleted }))
    }

    async fn forget_number(
        &self,
        request: Request<ForgetNumberRequest>,
    ) -> Result<Response<ForgetNumberResponse>, Status> {
        let receipt = request.into_inner().receipt;
        let receipt = receipt.ok_or(RetentionError::Malformed("receipt", "is missing"))?;
        let store_rows_deleted = self.jobs.forget(receipt).await?;
        Ok(Response::new(ForgetNumberResponse { store_rows_deleted }))
    }
}

/// Where a page starts (0: at the newest) and how long it is (0: the default).
fn page(before: u64, size: u32) -> Result<(u64, u64), RetentionError> {
    if size > MAX_PAGE {
        return Err(RetentionError::Malformed("page_size", "is more than 1000"));
    }
    let before = if before == 0 { u64::MAX } else { before };
    let limit = if size == 0 { DEFAULT_PAGE } else { size.into() };
    Ok((before, limit))
}

fn wire_run(run: Run) -> WireRun {
    WireRun {
        run_id: run.run_id,
        started_at_ms: run.started_at.as_millis(),
        finished_at_ms: run.finished_at.as_millis(),
        epochs_destroyed: run.epochs_destroyed,
        store_rows_deleted: run.store_rows_deleted,
        relay_rows_deleted: run.relay_rows_deleted,
        failure: run.failure,
        dry_run: run.dry_run,
    }
}

fn wire_receipt(kept: Kept) -> StoredReceipt {
    StoredReceipt {
        receipt_id: kept.receipt_id,
        receipt: Some(kept.receipt),
        rows_deleted_at_ms: kept.rows_deleted_at.map_or(0, Timestamp::as_millis),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_page_has_defaults_and_a_bound() {
        assert_eq!(page(0, 0).unwrap(), (u64::MAX, 100));
        assert_eq!(page(7, 1_000).unwrap(), (7, 1_000));
        assert!(page(0, 1_001).is_err());
    }
}
