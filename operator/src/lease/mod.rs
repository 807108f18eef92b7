//! One writer among several operators: a `Lease` object in, the right to write out.
//!
//! Whoever holds the lease writes. Holders renew it; a lease that did not change for [`LEASE_DURATION`] on the clock of
//! whoever looks at it is free, so clocks of different machines are never compared. A holder trusts its lease only until
//! [`LEASE_RENEW_DEADLINE`] after it *began* the request that renewed it, which is before anybody else can see it expire,
//! whatever happened to the answer. (`two_never_write_at_the_same_time`)
//!
//! [`LEASE_DURATION`]: crate::limits::LEASE_DURATION
//! [`LEASE_RENEW_DEADLINE`]: crate::limits::LEASE_RENEW_DEADLINE

mod api;
mod elector;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use candles_workers::runtime::health::Health;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::{
    api::KubeLease,
    elector::{Elector, Record, Step},
};
use crate::limits::{LEASE_LOOK_EVERY, LEASE_RENEW_DEADLINE, LEASE_RENEW_EVERY, LEASE_REQUEST};

/// The part of readiness that says whether the lease can be read and written. Not holding it is no reason.
pub const PART: &str = "lease";

/// Why a request for the lease failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else was faster.
    #[error("somebody else changed the lease")]
    Conflict,
    /// The operator may not: waiting does not help.
    #[error("{0}; the operator's role needs get and patch on this lease, and create on leases")]
    Forbidden(String),
    /// No answer, or not the one that was hoped for. Whether it had an effect is not known.
    #[error("{0}")]
    Other(String),
}

/// The lease object, wherever it is kept.
pub trait LeaseApi: Send + Sync {
    /// The lease as it is; `None` when there is none yet.
    fn get(&self) -> impl Future<Output = Result<Option<Record>, LeaseError>> + Send;
    /// Makes it. [`LeaseError::Conflict`] when it is there already.
    fn create(&self, record: &Record) -> impl Future<Output = Result<Record, LeaseError>> + Send;
    /// Changes it, if its version is still that of `record`.
    fn update(&self, record: &Record) -> impl Future<Output = Result<Record, LeaseError>> + Send;
}

/// Whether this process may write: asked right before each write.
#[derive(Debug, Clone)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
}

impl Leadership {
    /// Whether the lease is held at this moment.
    pub fn holds(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns when the lease is held.
    pub async fn gained(&self) {
        let mut until = self.until.clone();
        while !self.holds() {
            if until.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns when the lease is held no more.
    pub async fn lost(&self) {
        let mut until = self.until.clone();
        while self.holds() {
            let end = until.borrow_and_update().unwrap_or_else(Instant::now);
            tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                changed = until.changed() => {
                    if changed.is_err() {
                        tokio::time::sleep_until(end).await;
                    }
                }
            }
        }
    }
}

/// Takes, keeps and gives back the lease.
#[derive(Debug)]
pub struct Candidate<A> {
    api: A,
    elector: Elector,
    until: watch::Sender<Option<Instant>>,
    health: Arc<Health>,
}

impl<A: LeaseApi> Candidate<A> {
    /// `identity` is unique among all processes that ever were: a restarted one must not take the lease of the one
    /// before for its own.
    pub fn new(api: A, identity: String, health: Arc<Health>) -> (Self, Leadership) {
        let (until, receiver) = watch::channel(None);
        (Self { api, elector: Elector::new(identity), until, health }, Leadership { until: receiver })
    }

    /// Competes until `stop`; then nobody may write any more, and the lease is given back.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let began = Instant::now();
            let outcome = timeout(LEASE_REQUEST * 2, self.round(began)).await;
            self.tell(outcome.unwrap_or_else(|_| Err(LeaseError::Other("no answer in time".to_owned()))));
            let held = self.until.borrow().is_some_and(|until| Instant::now() < until);
            let pause = if held { LEASE_RENEW_EVERY } else { LEASE_LOOK_EVERY };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        let held = self.until.send_replace(None).is_some();
        if held && let Some(record) = self.elector.release() {
            match timeout(LEASE_REQUEST, self.api.update(&record)).await {
                Ok(Ok(_)) => tracing::info!("lease given back"),
                Ok(Err(error)) => tracing::warn!(%error, "lease not given back; it expires by itself"),
                Err(_) => tracing::warn!("lease not given back in time; it expires by itself"),
            }
        }
    }

    async fn round(&mut self, began: Instant) -> Result<(), LeaseError> {
        let mut record = self.elector.renewal();
        if record.is_none() {
            let found = limited(self.api.get()).await?;
            match self.elector.look(found, Instant::now()) {
                Step::Wait => {}
                Step::Create(wanted) => {
                    let made = limited(self.api.create(&wanted)).await?;
                    self.gained(made, began);
                    return Ok(());
                }
                Step::Take(wanted) => record = Some(wanted),
            }
        }
        if let Some(record) = record {
            match limited(self.api.update(&record)).await {
                Ok(written) => self.gained(written, began),
                Err(error) => {
                    // What it is like now has to be seen before the next try.
                    self.elector.forget();
                    return Err(error);
                }
            }
        } else if self.until.borrow().is_some() {
            tracing::warn!("lease lost to another operator");
            self.until.send_replace(None);
        }
        Ok(())
    }

    /// The lease is ours until a while after the moment before we asked for it.
    fn gained(&mut self, record: Record, began: Instant) {
        self.elector.written(record);
        let until = began + LEASE_RENEW_DEADLINE;
        if self.until.send_replace(Some(until)).is_none_or(|before| before <= Instant::now()) {
            tracing::info!(identity = self.elector.identity(), "lease gained");
        }
    }

    fn tell(&self, outcome: Result<(), LeaseError>) {
        match outcome {
            Ok(()) | Err(LeaseError::Conflict) => drop(self.health.works(PART)),
            Err(error) => {
                if self.health.fails(PART, error.to_string()) {
                    tracing::warn!(%error, "lease cannot be used");
                }
            }
        }
    }
}

async fn limited<R>(call: impl Future<Output = Result<R, LeaseError>>) -> Result<R, LeaseError> {
    timeout(LEASE_REQUEST, call)
        .await
        .unwrap_or_else(|_| Err(LeaseError::Other("no answer in time".to_owned())))
}
