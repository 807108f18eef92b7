//! The real servers, for tests, chaos runs and the demo: three Kafka brokers, two schema registries, InfluxDB, and where
//! it is asked for a Kubernetes control plane.
//! A run folder in, running servers out, each of which can be killed, frozen, thawed, stopped and restarted on
//! the same ports and data; all end with this process, however it ends, and none is ever skipped: what cannot be
//! installed or started is an error that names the server, its last words and what to do.
//!
//! ```no_run
//! # async fn example() -> Result<(), candles_testbed::servers::Error> {
//! use candles_testbed::servers::Testbed;
//! let testbed = Testbed::builder("my-test").start().await?;
//! testbed.kafka.create_topic("trades", 3, 3, &[("min.insync.replicas", "2")]).await?;
//! testbed.kafka.kill(2)?;
//! testbed.influxdb.freeze()?;
//! testbed.finish(); // a success: the run's folder goes; without this it is kept
//! # Ok(())
//! # }
//! ```

pub mod artefacts;
pub mod cache;
pub mod charts;
pub mod control;
pub mod datafusion;
mod error;
pub mod influxdb;
pub mod install;
pub mod kafka;
pub mod kubernetes;
pub mod node;
mod pki;
mod ports;
mod process;
pub mod registry;
mod rundir;
mod server;
pub mod shared;
mod testbed;
mod tool;
pub mod worker;

pub use error::{Error, Result, chain};
pub use influxdb::InfluxDb;
pub use kubernetes::ControlPlane;
pub use pki::WRONG_HOST;
pub use process::state as process_state;
pub use registry::Registry;
pub use rundir::{RUN_DIR_VARIABLE, RunDir, remove_ended as remove_ended_runs};
pub use server::{Server, State};
pub use testbed::{Builder, Testbed};
pub use tool::{Output, Tool};
pub use worker::Worker;
