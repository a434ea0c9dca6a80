use super::super::certificates::tests::is_trusted;
use super::*;

const HOST: &str = "lab-receiver.team.svc";

fn at_time(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

fn archive() -> ArchiveName {
    ArchiveName::new("team", "lab")
}

fn stored(authority: &Authority) -> SecretData {
    let mut data = SecretData::new();
    authority.write(&archive(), &mut data);
    data
}

fn next(data: &SecretData, request: &str, answered: Option<&str>, now: OffsetDateTime, reach: Reach) -> Authority {
    Authority::next(&archive(), data, Known { request, answered, now }, |_| reach).unwrap()
}

fn made(now: OffsetDateTime) -> Authority {
    next(&SecretData::new(), "", None, now, Reach::Pods)
}

/// Whether who trusts the certificates that `knows` gives takes the receiver that `shows` stands for.
fn trusts(knows: &Authority, shows: &Authority, now: OffsetDateTime) -> bool {
    is_trusted(&knows.bundle(), &shows.tls.as_ref().unwrap().crt, HOST, now)
}

#[test]
fn a_certificate_is_renewed_in_time_and_the_authority_stays() {
    let first = made(at_time("2026-01-01T00:00:00Z"));
    let june = next(&stored(&first), "", None, at_time("2026-06-01T00:00:00Z"), Reach::Pods);
    assert_eq!(june, first);
    let july = next(&stored(&first), "", None, at_time("2026-07-01T00:00:00Z"), Reach::Pods);
    assert_eq!(july.issuing, first.issuing);
    assert_ne!(july.tls, first.tls);
    assert!(trusts(&first, &july, at_time("2026-07-01T00:00:00Z")));
}

#[test]
fn what_is_broken_is_made_anew() {
    let now = at_time("2026-01-01T00:00:00Z");
    let first = made(now);
    let mut data = stored(&first);
    data.remove(&archive().secret_key("tls.key"));
    assert_eq!(next(&data, "", None, now, Reach::Pods).issuing, first.issuing);
    data.insert(archive().secret_key("ca.key"), b"nonsense".to_vec());
    assert_ne!(next(&data, "", None, now, Reach::Pods).issuing, first.issuing);
}

/// At every moment of a change, whoever has what the Secret held now or one step before takes the receiver, whether it shows the
/// certificate that the Secret holds now or the one of the step before.
#[test]
fn an_authority_is_changed_without_a_moment_in_which_a_sender_does_not_know_the_receiver() {
    let now = at_time("2026-01-01T00:00:00Z");
    let later = now + ANNOUNCED;
    let settled = made(now);
    let announced = next(&stored(&settled), "monday", None, now, Reach::Pods);
    let changed = next(&stored(&announced), "monday", None, later, Reach::Pods);
    let root = changed.roots()[0].clone();
    let end = next(&stored(&changed), "monday", Some(&root), later, Reach::Pods);
    for (before, after) in [(&settled, &announced), (&changed, &end)] {
        for (knows, shows) in [(before, before), (before, after), (after, before), (after, after)] {
            // The last step is made only when the receiver shows what it has.
            assert!(trusts(knows, shows, later));
        }
    }
    // Before this step every sender has what was announced.
    assert!(trusts(&announced, &announced, later) && trusts(&announced, &changed, later));
    assert!(trusts(&changed, &announced, later) && trusts(&changed, &changed, later));
    assert!(!trusts(&settled, &changed, later), "this is why they are waited for");
    assert!(!trusts(&end, &settled, later), "the previous authority is no longer trusted");
    assert_eq!((settled.token_request("r"), end.token_request("r")), ("r".to_owned(), "r.1".to_owned()));
    assert_eq!(next(&stored(&end), "monday", Some(&root), later, Reach::Pods), end, "one request, one change");
    let names: Vec<_> = [(&announced, &settled), (&changed, &announced), (&end, &changed), (&end, &end)]
        .map(|(now, before)| now.news(Some(before)).is_some())
        .to_vec();
    assert_eq!(names, [true, true, true, false]);
}

#[test]
fn no_step_is_taken_without_its_proof() {
    let now = at_time("2026-01-01T00:00:00Z");
    let almost = now + ANNOUNCED - Duration::seconds(1);
    let announced = next(&stored(&made(now)), "monday", None, now, Reach::Pods);
    let data = stored(&announced);
    assert_eq!(next(&data, "tuesday", None, almost, Reach::Pods), announced, "not yet");
    assert_eq!(next(&data, "monday", None, now + ANNOUNCED * 9, Reach::Secrets), announced, "a pod has the old token");
    let partial = next(&data, "monday", None, almost, Reach::Partial);
    assert_ne!(partial, announced, "a Secret lacks it: the time begins anew");
    assert_eq!(next(&stored(&partial), "monday", None, now + ANNOUNCED, Reach::Pods), partial);

    let changed = next(&data, "monday", None, now + ANNOUNCED, Reach::Pods);
    for answered in [None, Some(changed.roots()[1].as_str()), Some(announced.roots()[0].as_str())] {
        assert_eq!(next(&stored(&changed), "monday", answered, now + ANNOUNCED, Reach::Pods), changed);
    }
}

#[test]
fn an_authority_is_changed_by_itself_long_before_its_end() {
    let now = at_time("2026-01-01T00:00:00Z");
    // Of a version that noted no time: the next certificate of the receiver notes one.
    let mut data = stored(&made(now));
    data.remove(&archive().secret_key("ca.renew"));
    let renewed = next(&data, "", None, now + NEW_CERTIFICATE_AFTER, Reach::Pods);
    assert_eq!(renewed.step, Step::Settled);
    let due = now + NEW_CERTIFICATE_AFTER + NEW_AUTHORITY_AFTER;
    assert!(!Authority::is_changing(&archive(), &stored(&renewed), Known { request: "", answered: None, now }));
    assert!(Authority::is_changing(&archive(), &stored(&renewed), Known { request: "", answered: None, now: due }));
    let announced = next(&stored(&renewed), "", None, due, Reach::Pods);
    let changed = next(&stored(&announced), "", None, due + ANNOUNCED, Reach::Pods);
    let end = next(&stored(&changed), "", Some(&changed.roots()[0]), due + ANNOUNCED, Reach::Pods);
    assert_eq!(next(&stored(&end), "", None, due + ANNOUNCED * 2, Reach::Pods), end);
    assert_eq!(end.generation, 1);
}
