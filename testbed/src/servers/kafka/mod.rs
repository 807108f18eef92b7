//! Three Kafka brokers (KRaft, each a controller too) with an internal, a local plaintext and an external
//! SASL_SSL listener, and a fourth one whose certificate is for another host name.
//! Options and a run folder in, a running cluster out; faults by node id, which counts from 1.
//! Never creates a topic by itself, and never changes a port after the start.

mod admin;
mod config;
mod java;
mod tool;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use admin::Partition;
pub use config::{Login, Options};

use super::error::{Error, Result};
use super::pki::Pki;
use super::ports::{self, PortLease};
use super::rundir::RunDir;
use super::server::{Plan, Probe, Server};
pub use super::tool::{Output, Tool};
use admin::Admin;
use config::BrokerPorts;
use java::Java;
use tool::ToolBox;

/// Cluster id of every testbed cluster: a random-looking constant, since data never moves between clusters.
const CLUSTER_ID: &str = "Y2FuZGxlcy10ZXN0YmVkMQ";
/// Limit for a broker to be started and unfenced; 11 s are usual for three on 2 idle cores.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Installs Kafka without starting a cluster; what [`Cluster::start`] does first.
pub async fn install() -> Result<()> {
    Java::install().await.map(drop)
}

/// A running cluster; ends when dropped.
#[derive(Debug)]
pub struct Cluster {
    brokers: Vec<Server>,
    ports: Vec<BrokerPorts>,
    pki: Pki,
    login: Login,
    tools: ToolBox,
    _leases: Vec<PortLease>,
}

impl Cluster {
    /// Installs Kafka if need be, formats and starts all brokers, waits until all are ready.
    pub async fn start(options: Options, run: &RunDir) -> Result<Self> {
        Self::start_with(Java::install().await?, &options, run).await
    }

    async fn start_with(java: Java, options: &Options, run: &RunDir) -> Result<Self> {
        let count = usize::from(options.brokers.clamp(1, 3));
        let start = async |leases| Self::try_start(options, run, &java, leases).await;
        ports::with_ports(count * (BrokerPorts::COUNT + options.lanes.len()), start).await
    }

    async fn try_start(options: &Options, run: &RunDir, java: &Java, leases: Vec<PortLease>) -> Result<Self> {
        let pki = Pki::create(run)?;
        let numbers: Vec<u16> = leases.iter().map(PortLease::port).collect();
        let of_broker = |numbers: &[u16]| {
            let (own, lanes) = numbers.split_first_chunk().expect("as many ports were leased");
            BrokerPorts::new(*own).with_lanes(lanes)
        };
        let ports = numbers.chunks(BrokerPorts::COUNT + options.lanes.len()).map(of_broker).collect();
        let login =
            Login { user: options.user.clone(), password: options.password.clone(), ca_pem: pki.ca.clone() };
        let tools = ToolBox::new(java.clone(), run)?;
        let mut cluster = Self { brokers: Vec::new(), ports, pki, login, tools, _leases: leases };
        for id in 1..=cluster.ports.len() {
            let broker = cluster.prepare(id, options)?;
            cluster.brokers.push(broker);
        }
        cluster.format().await?;
        for broker in &cluster.brokers {
            broker.start()?;
        }
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// Writes a broker's configuration; what an earlier attempt left goes.
    fn prepare(&self, id: usize, options: &Options) -> Result<Server> {
        let name = format!("broker-{id}");
        let run = &self.tools.run;
        let folder = run.folder(&name)?;
        let data = folder.join("data");
        let _ = std::fs::remove_dir_all(&data);
        let properties = config::server_properties(id, &self.ports, &data, &self.pki, options);
        let log4j = folder.join("log4j2.properties");
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
        };
        write(&properties_file(run, id), properties)?;
        write(&log4j, config::log4j_properties("info", "SYSTEM_OUT"))?;
        let mut args = self.tools.java.arguments(&log4j, options.heap_mib_max, &options.jvm_args);
        args.extend(["kafka.Kafka".to_owned(), properties_file(run, id).display().to_string()]);
        let plan = Plan {
            name,
            program: "java".into(),
            args,
            env: vec![],
            folder,
            // Logged when the broker is unfenced and its listeners take requests.
            probe: Probe::LogLine("Kafka Server started"),
            ready_limit: READY_LIMIT,
        };
        Ok(Server::new(plan, run))
    }

    /// Formats the data folders, with the external user in the first metadata records.
    async fn format(&self) -> Result<()> {
        let Login { user, password, .. } = &self.login;
        let scram = format!("SCRAM-SHA-512=[name={user},password={password}]");
        let format = |id: usize| {
            let config = properties_file(&self.tools.run, id).display().to_string();
            let args = ["format", "-t", CLUSTER_ID, "-c", &config, "--add-scram", &scram].map(str::to_owned);
            self.tools.tool("kafka.tools.StorageTool").args(args).run()
        };
        let outputs = futures_util::future::try_join_all((1..=self.brokers.len()).map(format)).await?;
        outputs.into_iter().try_for_each(|output| output.success().map(drop))
    }

    /// All brokers, in the order of their node ids.
    pub fn brokers(&self) -> &[Server] {
        &self.brokers
    }

    /// The broker with node id `id`, from 1.
    ///
    /// # Panics
    /// If there is no such broker.
    pub fn broker(&self, id: usize) -> &Server {
        &self.brokers[id - 1]
    }

    /// SIGKILL; see [`Server::kill`].
    pub fn kill(&self, id: usize) -> Result<()> {
        self.broker(id).kill()
    }

    /// SIGSTOP; see [`Server::freeze`].
    pub fn freeze(&self, id: usize) -> Result<()> {
        self.broker(id).freeze()
    }

    /// SIGCONT; see [`Server::thaw`].
    pub fn thaw(&self, id: usize) -> Result<()> {
        self.broker(id).thaw()
    }

    /// Controlled shutdown; see [`Server::stop`].
    pub async fn stop(&self, id: usize) -> Result<()> {
        self.broker(id).stop().await
    }

    /// Same data, same ports; returns when the broker is unfenced. Needs a majority of controllers: to bring
    /// back a second broker of three together with the first, `start` both and then [`Cluster::wait_ready`].
    pub async fn restart(&self, id: usize) -> Result<()> {
        self.broker(id).restart().await
    }

    /// Waits until every broker is ready; one that is down is an error.
    pub async fn wait_ready(&self) -> Result<()> {
        futures_util::future::try_join_all(self.brokers.iter().map(Server::wait_ready)).await.map(drop)
    }

    /// Waits until every partition of every topic has a leader and all its replicas in sync.
    pub async fn wait_in_sync(&self, limit: Duration) -> Result<()> {
        self.admin().wait_in_sync(limit).await
    }

    /// Creates a topic and waits until all its replicas are in sync.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        self.admin().create_topic(name, partitions, replication, configs).await
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        self.admin().delete_topic(name).await
    }

    /// Lets a topic grow to `count` partitions, and waits until all their replicas are in sync.
    pub async fn add_partitions(&self, name: &str, count: i32) -> Result<()> {
        self.admin().add_partitions(name, count).await
    }

    /// Leader and replicas of each partition of `topic`.
    pub async fn partitions(&self, topic: &str) -> Result<Vec<Partition>> {
        self.admin().partitions(Some(topic)).await
    }

    /// Local plaintext listener of every broker, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.addresses(|ports| ports.local)
    }

    /// External listener (SASL_SSL, SCRAM-SHA-512) of every broker.
    pub fn bootstrap_external(&self) -> String {
        self.addresses(|ports| ports.external)
    }

    /// Like the external listener, but its certificate is for another host: a careful client refuses it.
    pub fn bootstrap_wrong_host(&self) -> String {
        self.addresses(|ports| ports.wrong_host)
    }

    /// Where the listener of a lane really is, for each broker: what its proxies lead to. Lanes count from 0.
    pub fn lane(&self, lane: usize) -> Vec<SocketAddr> {
        self.ports.iter().map(|ports| (Ipv4Addr::LOCALHOST, ports.lanes[lane]).into()).collect()
    }

    /// User, password and CA of the external listener.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Certificate of the CA that the external listener's clients trust.
    pub fn ca_pem_path(&self) -> &Path {
        &self.pki.ca
    }

    /// Certificate of an unrelated CA: a client that trusts only this one refuses the external listener.
    pub fn other_ca_pem_path(&self) -> &Path {
        &self.pki.other_ca
    }

    /// One of Kafka's Java programs, such as `org.apache.kafka.tools.TopicCommand`.
    pub fn tool(&self, main_class: &str) -> Tool {
        self.tools.tool(main_class)
    }

    /// Writes the properties file with which a Java program logs in to the external listener.
    pub fn client_properties(&self, login: &Login) -> Result<PathBuf> {
        let folder = self.tools.run.folder("tools")?;
        let write = || {
            let file =
                tempfile::Builder::new().prefix("client-").suffix(".properties").tempfile_in(folder)?;
            std::fs::write(file.path(), config::client_properties(login))?;
            Ok(file.into_temp_path().keep()?)
        };
        write().map_err(Error::io("write client properties"))
    }

    fn admin(&self) -> Admin {
        Admin { bootstrap: self.bootstrap() }
    }

    fn addresses(&self, port: impl Fn(&BrokerPorts) -> u16) -> String {
        let each = self.ports.iter().map(|ports| format!("127.0.0.1:{}", port(ports)));
        each.collect::<Vec<_>>().join(",")
    }
}

fn properties_file(run: &RunDir, id: usize) -> PathBuf {
    run.path().join(format!("broker-{id}")).join("server.properties")
}
