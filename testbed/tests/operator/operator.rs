//! The operator as a process that may do everything, for one namespace, under a user name of its own.

use std::ops::Deref;
use std::path::Path;

use candles_testbed::servers::kubernetes::{AuditLog, Request};
use candles_testbed::servers::{Worker, worker};

use crate::world::World;

/// A running operator. Ends when dropped.
pub struct Operator {
    process: Worker,
    user: String,
}

impl Deref for Operator {
    type Target = Worker;
    fn deref(&self) -> &Worker {
        &self.process
    }
}

impl Operator {
    /// Starts one and waits until it is ready.
    pub async fn start(world: &World, name: &str) -> Self {
        Self::start_with(world, name, &[]).await
    }

    /// The same with more arguments.
    pub async fn start_with(world: &World, name: &str, more: &[&str]) -> Self {
        let user = format!("operator-{}-{name}", world.namespace);
        // May do everything; what it needs is another test's subject.
        let kubeconfig = world.bed.kubernetes.kubeconfig(&user, Some("system:masters")).unwrap();
        let operator = Self::spawn(world, name, user, &kubeconfig, more);
        operator.wait_ready().await.unwrap();
        operator
    }

    /// Starts one with the rights of a kubeconfig, and does not wait.
    pub fn spawn(world: &World, name: &str, user: String, kubeconfig: &Path, more: &[&str]) -> Self {
        let args = |address: &str| {
            let (producer, consumer) = (Self::image("producer"), Self::image("consumer"));
            let fixed = [
                "run",
                "--namespace",
                &world.namespace,
                "--lease-namespace",
                &world.namespace,
                "--producer-image",
                &producer,
                "--consumer-image",
                &consumer,
                "--http-address",
                address,
                "--log-format",
                "json",
            ];
            fixed.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
        };
        let env = [("KUBECONFIG", kubeconfig.display().to_string()), ("POD_NAME", name.to_owned())];
        let name = format!("operator-{}-{name}", world.namespace);
        let binary = worker::binary("operator").unwrap();
        let process = Worker::start_with(&binary, &name, args, &env, &world.bed.run).unwrap();
        Self { process, user }
    }

    /// What the operator is told to use.
    pub fn image(component: &str) -> String {
        format!("example.invalid/candles-{component}:1.2.3")
    }

    /// What it has written since the log begins; its lease excepted, which is renewed for ever.
    pub fn writes(&self, log: &AuditLog) -> Vec<Request> {
        let mut writes = log.writes_of(&self.user).unwrap();
        writes.retain(|write| write.resource != "leases");
        writes
    }
}
