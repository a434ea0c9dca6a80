//! The parts of an archive that run.

use super::archive::ArchiveName;

/// A part of an archive that runs in pods of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Takes samples.
    Receiver,
}

impl Component {
    /// All of them. The admission policies of the chart have the same list (`charts/promarchive/templates/_kinds.tpl`).
    pub const ALL: [Self; 1] = [Self::Receiver];

    /// Its name: the value of the label [`super::COMPONENT`], and what the names of its objects end with.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
        }
    }
}

impl ArchiveName {
    /// Name of all objects of a component: `<archive>-<component>`.
    pub fn component(&self, component: Component) -> String {
        format!("{}-{}", self.name, component.as_str())
    }

    /// The receiver's Deployment, Service, ServiceAccount, ConfigMap, NetworkPolicy and PodMonitor.
    pub fn receiver(&self) -> String {
        self.component(Component::Receiver)
    }

    /// Host name of the receiver, `<archive>-receiver.<namespace>.svc`: what its certificate is for.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.receiver(), self.namespace)
    }

    /// Whether a Prometheus in `from` reaches this archive's Service by `host`: with or without the cluster's domain, and
    /// by the short forms that the resolver completes.
    pub(crate) fn is_reached_by(&self, host: &str, from: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let Some(rest) = host.strip_prefix(&self.receiver()) else { return false };
        match rest.strip_prefix('.') {
            None => rest.is_empty() && from == self.namespace,
            Some(rest) => match rest.strip_prefix(&self.namespace) {
                Some(domain) => domain.is_empty() || domain == ".svc" || domain.starts_with(".svc."),
                None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_several_names_and_others_look_like_them() {
        let lab = ArchiveName::new("monitoring", "lab");
        for (host, from, reached) in [
            ("lab-receiver.monitoring.svc", "x", true),
            ("LAB-receiver.Monitoring.svc", "x", true),
            ("lab-receiver.monitoring.svc.cluster.local", "x", true),
            ("lab-receiver.monitoring.svc.cluster.local.", "x", true),
            ("lab-receiver.monitoring", "x", true),
            ("lab-receiver", "monitoring", true),
            ("lab-receiver", "x", false),
            ("lab-receiver.monitoring.svc2", "x", false),
            ("lab-receiver.monitoring2.svc", "x", false),
            ("lab-receiver.monitoring.example.org", "x", false),
            ("lab-receiver2.monitoring.svc", "x", false),
            ("my.lab-receiver.monitoring.svc", "x", false),
            ("10.0.0.1", "monitoring", false),
            ("", "monitoring", false),
        ] {
            assert_eq!(lab.is_reached_by(host, from), reached, "{host} from {from}");
        }
    }
}
