//! Operators that compete on a paused clock, for a lease on a server that is slow, forgets answers and goes away.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use candles_workers::runtime::health::Health;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::*;

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    Slow(u64),
    RefusedBefore,
    LostAfter,
    /// It has its effect long after nobody waits for the answer.
    Late(u64),
    Forbidden,
}

#[derive(Debug, Default)]
struct Server {
    lease: Option<Record>,
    writes: u64,
}

/// The server, as one operator reaches it; its fates come one after the other, then all goes well.
#[derive(Debug, Clone)]
struct Reach {
    server: Arc<Mutex<Server>>,
    fates: Arc<Mutex<Vec<Fate>>>,
}

impl Reach {
    fn new(server: &Arc<Mutex<Server>>, fates: &[Fate]) -> Self {
        let fates = fates.iter().rev().copied().collect();
        Self { server: Arc::clone(server), fates: Arc::new(Mutex::new(fates)) }
    }

    async fn request<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Server) -> Result<R, LeaseError> + Send + 'static,
    ) -> Result<R, LeaseError> {
        let fate = self.fates.lock().unwrap().pop().unwrap_or(Fate::Answered);
        sleep(Duration::from_millis(5)).await;
        match fate {
            Fate::Answered => {}
            Fate::Slow(ms) => sleep(Duration::from_millis(ms)).await,
            Fate::RefusedBefore => return Err(LeaseError::Other("500".to_owned())),
            Fate::Forbidden => return Err(LeaseError::Forbidden("403".to_owned())),
            Fate::Late(ms) => {
                let server = Arc::clone(&self.server);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    drop(act(&mut server.lock().unwrap()));
                });
                return Err(LeaseError::Other("connection reset".to_owned()));
            }
            Fate::LostAfter => {
                drop(act(&mut self.server.lock().unwrap()));
                return Err(LeaseError::Other("connection reset".to_owned()));
            }
        }
        act(&mut self.server.lock().unwrap())
    }
}

impl LeaseApi for Reach {
    async fn get(&self) -> Result<Option<Record>, LeaseError> {
        self.request(|server| Ok(server.lease.clone())).await
    }

    async fn create(&self, record: &Record) -> Result<Record, LeaseError> {
        let record = record.clone();
        self.request(move |server| {
            if server.lease.is_some() { Err(LeaseError::Conflict) } else { Ok(server.keep(&record)) }
        })
        .await
    }

    async fn update(&self, record: &Record) -> Result<Record, LeaseError> {
        let record = record.clone();
        self.request(move |server| match &server.lease {
            Some(lease) if lease.version == record.version => Ok(server.keep(&record)),
            _ => Err(LeaseError::Conflict),
        })
        .await
    }
}

impl Server {
    fn keep(&mut self, record: &Record) -> Record {
        self.writes += 1;
        let kept = Record { version: self.writes.to_string(), ..record.clone() };
        self.lease = Some(kept.clone());
        kept
    }
}

struct Operator {
    leadership: Leadership,
    health: Arc<Health>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn operator(name: &str, reach: Reach) -> Operator {
    let health = Arc::new(Health::starting(&[PART]));
    let (candidate, leadership) = Candidate::new(reach, name.to_owned(), Arc::clone(&health));
    let stop = CancellationToken::new();
    let task = tokio::spawn(candidate.run(stop.clone()));
    Operator { leadership, health, stop, task }
}

#[tokio::test(start_paused = true)]
async fn a_graceful_end_hands_over_within_three_seconds() {
    let server = Arc::default();
    let a = operator("a", Reach::new(&server, &[]));
    a.leadership.gained().await;
    let b = operator("b", Reach::new(&server, &[]));
    sleep(Duration::from_secs(60)).await;
    assert!(a.leadership.holds() && !b.leadership.holds());
    assert_eq!(b.health.reasons(), Vec::<String>::new(), "ready without the lease");
    let asked = Instant::now();
    a.stop.cancel();
    a.task.await.unwrap();
    assert!(!a.leadership.holds());
    b.leadership.gained().await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_killed_holder_is_followed_within_twenty_seconds() {
    let server = Arc::default();
    let a = operator("a", Reach::new(&server, &[]));
    a.leadership.gained().await;
    let b = operator("b", Reach::new(&server, &[]));
    sleep(Duration::from_secs(60)).await;
    a.task.abort();
    let killed = Instant::now();
    b.leadership.gained().await;
    assert!(killed.elapsed() < Duration::from_secs(20), "{:?}", killed.elapsed());
    assert_eq!(server.lock().unwrap().lease.as_ref().unwrap().transitions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_others_start() {
    let server = Arc::default();
    let outage = vec![Fate::RefusedBefore; 200];
    let fates = [&[Fate::Answered; 2][..], &outage].concat();
    let a = operator("a", Reach::new(&server, &fates));
    a.leadership.gained().await;
    let b = operator("b", Reach::new(&server, &[]));
    a.leadership.lost().await;
    assert!(!b.leadership.holds(), "the other waits until the lease has expired");
    b.leadership.gained().await;
    assert!(!a.leadership.holds());
}

#[tokio::test(start_paused = true)]
async fn a_refused_lease_is_said_in_readiness() {
    let server = Arc::default();
    let a = operator("a", Reach::new(&server, &[Fate::Forbidden; 3]));
    sleep(Duration::from_millis(2500)).await;
    assert!(a.health.reasons()[0].contains("get and patch on this lease"), "{:?}", a.health.reasons());
    a.leadership.gained().await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(a.health.reasons(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_paused_process_does_not_write_when_it_wakes() {
    let server = Arc::default();
    let a = operator("a", Reach::new(&server, &[]));
    a.leadership.gained().await;
    // As after SIGSTOP and SIGCONT: the clock went on, nothing ran.
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(!a.leadership.holds());
}

/// Seeds and kills on a server that does its worst: at no moment do two hold the lease.
#[test]
fn two_never_write_at_the_same_time() {
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        2 => (0u64..9_000).prop_map(Fate::Slow),
        1 => Just(Fate::RefusedBefore),
        1 => (0u64..20_000).prop_map(Fate::Late),
        2 => Just(Fate::LostAfter),
    ];
    let fates = prop::collection::vec(prop::collection::vec(fate, 0..40), 3);
    let ends = prop::collection::vec((0usize..3, any::<bool>(), 0u64..40_000), 0..4);
    let mut runner = TestRunner::new(proptest::test_runner::Config { cases: 150, ..Default::default() });
    runner
        .run(&(fates, ends), |(fates, mut ends)| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let server: Arc<Mutex<Server>> = Arc::default();
                let start = |nth: usize| operator(&format!("o{nth}"), Reach::new(&server, &fates[nth % 3]));
                let mut operators: Vec<Operator> = (0..3).map(start).collect();
                let mut held = 0;
                ends.sort_by_key(|(_, _, at_ms)| *at_ms);
                for at_ms in (0..90_000).step_by(50) {
                    while let Some((nth, graceful, _)) =
                        ends.first().copied().filter(|(_, _, end)| *end <= at_ms)
                    {
                        ends.remove(0);
                        // It starts again as another process.
                        let fresh = start(operators.len() + at_ms as usize);
                        let old = std::mem::replace(&mut operators[nth], fresh);
                        if graceful { old.stop.cancel() } else { old.task.abort() }
                    }
                    let holders = operators.iter().filter(|operator| operator.leadership.holds()).count();
                    prop_assert!(holders <= 1, "{holders} hold the lease at {at_ms} ms");
                    held += holders;
                    sleep(Duration::from_millis(50)).await;
                }
                prop_assert!(held > 0, "nobody ever held the lease");
                Ok(())
            })
        })
        .unwrap();
}
