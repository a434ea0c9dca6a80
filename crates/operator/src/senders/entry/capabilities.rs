//! What one Prometheus and the cluster's CRD of its kind understand.

use promarchive_api::metrics_archive::PrometheusKind;
use serde_json::Value;

/// A release of Prometheus, as far as it decides about fields. A pre-release of x.y.0 is older than x.y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    major: u32,
    minor: u32,
    before: bool,
}

impl Version {
    /// Out of `v2.44.0`, `3.4` or `3.4.0-rc.0`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _build)| version);
        let (numbers, pre_release) = text.split_once('-').map_or((text, false), |(numbers, _)| (numbers, true));
        let mut numbers = numbers.split('.').map(|number| number.parse::<u32>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let patch = numbers.next().unwrap_or(Some(0))?;
        numbers.next().is_none().then_some(Self { major, minor, before: pre_release && patch == 0 })
    }

    fn is_before(self, (major, minor): (u32, u32)) -> bool {
        (self.major, self.minor) < (major, minor) || ((self.major, self.minor) == (major, minor) && self.before)
    }
}

/// What a Prometheus and the CRD of its kind understand.
///
/// The Prometheus Operator writes the configuration for `spec.version` and leaves out, with a warning at every sync, what
/// that version does not know. What runs is `spec.image`. An older CRD drops fields that it does not know without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    configured: Option<Version>,
    running: Option<Version>,
    names: Names,
    pub(super) fields: Fields,
}

/// `nameValidationScheme` of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Not said, or `UTF8`: up to the release.
    Unrestricted,
    /// `Legacy`: letters, digits and `_`.
    Legacy,
}

/// The fields of an entry that not every CRD has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) message_version: bool,
    pub(super) exemplars: bool,
    pub(super) native_histograms: bool,
    pub(super) retry_on_rate_limit: bool,
}

impl Capabilities {
    /// Out of the object's `spec`, and the CustomResourceDefinition of its kind as JSON; without one, only what every CRD
    /// since 0.66 has is used.
    pub fn of(kind: PrometheusKind, spec: &Value, crd: Option<&Value>) -> Self {
        let text = |field| spec.get(field).and_then(Value::as_str).unwrap_or_default();
        Self {
            configured: Version::parse(text("version")),
            running: tag(text("image")).and_then(Version::parse),
            names: match spec.get("nameValidationScheme") {
                None | Some(Value::Null) => Names::Unrestricted,
                Some(scheme) if scheme == "UTF8" => Names::Unrestricted,
                Some(_) => Names::Legacy,
            },
            fields: crd.and_then(|crd| fields_of(kind, crd)).unwrap_or(Fields {
                message_version: false,
                exemplars: true,
                native_histograms: true,
                retry_on_rate_limit: true,
            }),
        }
    }

    /// Whether the Prometheus is known to be older than that.
    pub(super) fn is_before(&self, version: (u32, u32)) -> bool {
        [self.configured, self.running].into_iter().flatten().any(|known| known.is_before(version))
    }

    /// Whether the Prometheus Operator treats it as that or newer, and nothing speaks against it.
    pub(super) fn is_surely(&self, version: (u32, u32)) -> bool {
        self.configured.is_some() && !self.is_before(version)
    }

    /// Whether label names may have other characters than letters, digits and `_`.
    pub(super) fn takes_utf8_names(&self) -> bool {
        self.names == Names::Unrestricted && self.is_surely((3, 0))
    }

    /// Whether it is certain that they may not. Some releases before 3.7 do not use the scheme for rules.
    pub(super) fn refuses_utf8_names(&self) -> bool {
        self.names == Names::Legacy && self.is_surely((3, 7))
    }

    /// Whether such names may have references to groups in them, such as `${1}`.
    pub(super) fn takes_utf8_templates(&self) -> bool {
        self.takes_utf8_names() && self.is_surely((3, 3))
    }

    /// Whether label names may have references at all. 3.7 checks them as if they were names.
    pub(super) fn takes_templates(&self) -> bool {
        self.names == Names::Unrestricted || self.is_before((3, 7)) || self.is_surely((3, 8))
    }
}

/// The tag of an image; not the port of its registry, not the digest.
fn tag(image: &str) -> Option<&str> {
    let image = image.split_once('@').map_or(image, |(image, _digest)| image);
    image.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
}

fn fields_of(kind: PrometheusKind, crd: &Value) -> Option<Fields> {
    let version = match kind {
        PrometheusKind::Prometheus => "v1",
        PrometheusKind::PrometheusAgent => "v1alpha1",
    };
    let versions = crd.pointer("/spec/versions")?.as_array()?;
    let version = versions.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(version))?;
    let entry = version.pointer("/schema/openAPIV3Schema/properties/spec/properties/remoteWrite/items/properties")?;
    Some(Fields {
        message_version: entry.get("messageVersion").is_some(),
        exemplars: entry.get("sendExemplars").is_some(),
        native_histograms: entry.get("sendNativeHistograms").is_some(),
        retry_on_rate_limit: entry.pointer("/queueConfig/properties/retryOnRateLimit").is_some(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for (text, before_3_4) in [
            ("v3.4.0", false),
            ("3.4", false),
            ("3.4.0-rc.0", true),
            ("3.4.1-rc.0", false),
            ("3.16.0+build", false),
            ("v2.54.1", true),
        ] {
            assert_eq!(Version::parse(text).unwrap().is_before((3, 4)), before_3_4, "{text}");
        }
        for text in ["", "latest", "3", "v3.x", "3.4.0.1", "main-2024.5"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_tag_of_an_image_is_neither_port_nor_digest() {
        for (image, expected) in [
            ("quay.io/prometheus/prometheus:v2.44.0", Some("v2.44.0")),
            ("registry:5000/prometheus", None),
            ("registry:5000/prometheus:v3.4.0@sha256:ab", Some("v3.4.0")),
            ("prometheus@sha256:ab", None),
            ("", None),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }

    #[test]
    fn the_lower_of_two_versions_counts_and_an_image_alone_is_not_enough() {
        let of = |spec| Capabilities::of(PrometheusKind::Prometheus, &spec, None);
        assert!(of(json!({"version": "3.4.0"})).is_surely((3, 4)));
        assert!(!of(json!({"version": "3.4.0", "image": "prometheus:v2.44.0"})).is_surely((3, 4)));
        assert!(!of(json!({"image": "prometheus:v3.4.0"})).is_surely((3, 4)));
        assert!(!of(json!({"image": "prometheus:v3.4.0"})).is_before((3, 4)));
        assert!(!of(json!({"version": 3, "image": []})).is_before((2, 27)));
    }

    #[test]
    fn fields_are_found_in_the_crd_of_the_kind() {
        let entry =
            json!({"messageVersion": {}, "sendExemplars": {}, "queueConfig": {"properties": {"retryOnRateLimit": {}}}});
        let schema = json!({"openAPIV3Schema": {"properties": {"spec": {"properties": {"remoteWrite": {"items": {"properties": entry}}}}}}});
        let crd = json!({"spec": {"versions": [{"name": "v1", "schema": schema}]}});
        let of = |kind| Capabilities::of(kind, &json!({}), Some(&crd)).fields;
        let fields = of(PrometheusKind::Prometheus);
        assert!(fields.message_version && fields.exemplars && fields.retry_on_rate_limit && !fields.native_histograms);
        assert!(!of(PrometheusKind::PrometheusAgent).message_version);
    }
}
