//! The process: flags and signals in, a controller that runs while it holds the lease out.

pub mod arguments;
mod crd;
pub mod rbac;
pub mod release;
mod serve;

pub use self::serve::main;
