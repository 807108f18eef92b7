//! The charts as helm renders them: against the API's schemas of several Kubernetes versions, the rules of restricted
//! pods, the operator's own arguments, roles and definition, and what their documents say. No server is started.
//! `UPDATE=1 make charts-test` rewrites golden files and documents.

mod chart;
mod dashboards;
mod documents;
mod every;
mod kind;
mod operator;
mod stack;
