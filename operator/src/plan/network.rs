//! Who may speak to the workers, and to whom they may.
//!
//! In: pods of the cluster, to health and metrics. Out: names, and TCP to anything but the cloud's metadata service,
//! whose answers are credentials of the node. Servers are not named one by one: a policy knows no host names, and
//! brokers advertise addresses and ports of their own.

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Child, ChildKind, HTTP_PORT, names};
use crate::validate::ValidPipeline;

pub(super) fn network_policy(pipeline: &ValidPipeline) -> Child {
    let port = |protocol: &str, port: Option<i32>| NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: port.map(IntOrString::Int),
        ..NetworkPolicyPort::default()
    };
    let pods_of_the_cluster = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let block = |cidr: &str, except: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: Some(except.iter().map(|&cidr| cidr.to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    let object = NetworkPolicy {
        metadata: names::metadata(pipeline, names::service_account(pipeline), None),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::pipeline_selector(&pipeline.name)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![pods_of_the_cluster.clone()]),
                ports: Some(vec![port("TCP", Some(HTTP_PORT))]),
            }]),
            egress: Some(vec![
                // Wherever the resolver is: a node's own one has a link-local address.
                NetworkPolicyEgressRule {
                    ports: Some(vec![port("UDP", Some(53)), port("TCP", Some(53))]),
                    ..NetworkPolicyEgressRule::default()
                },
                NetworkPolicyEgressRule {
                    // Some networks do not count pods among addresses.
                    to: Some(vec![
                        pods_of_the_cluster,
                        block("0.0.0.0/0", &["169.254.0.0/16"]),
                        block("::/0", &["fd00:ec2::254/128", "fe80::/10"]),
                    ]),
                    ports: Some(vec![port("TCP", None)]),
                },
            ]),
        }),
    };
    Child::new(ChildKind::NetworkPolicy, &object)
}
