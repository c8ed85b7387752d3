//! Who is told and how, as the configuration says it: `[dispatch]` and `[[receiver]]`, checked.

use tocsin_engine::dispatch::routing::{RateLimit, Receiver, Route, Routing, Written};
use tocsin_notifiers::ReceiverConfig;
use tocsin_notifiers::matrix::{self, Listener};
use tocsin_proto::Span;

use super::courier::Address;
use super::names::NodeNames;
use super::room::Hidden;

/// All that dispatch needs of the configuration.
pub struct Plan {
    /// Who is told of what.
    pub routing: Routing,
    /// The receivers, in the order of the configuration.
    pub addresses: Vec<Address>,
    /// Those who listen in Matrix rooms.
    pub listeners: Vec<Listener>,
    /// What is hidden in what they answer.
    pub hidden: Hidden,
}

impl Plan {
    /// Checks both tables against each other; none if there are neither. All that is wrong is returned at once.
    pub fn new(written: Option<&Written>, receivers: &[ReceiverConfig]) -> Result<Option<Plan>, Vec<String>> {
        let Some(written) = written else {
            if receivers.is_empty() {
                return Ok(None);
            }
            return Err(vec![
                "[dispatch.route] is missing, expected one with the name of a [[receiver]]".to_string(),
            ]);
        };
        tocsin_notifiers::choose_cryptography();
        let mut wrong = Vec::new();
        let mut names: Vec<&str> = receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        names.sort_unstable();
        for twice in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            wrong.push(format!(
                "[[receiver]] name = {:?} is there twice, expected a name of its own for each",
                twice[0]
            ));
        }
        if names.iter().any(|name| name.is_empty()) {
            wrong
                .push("[[receiver]] name is empty, expected a name for routes, logs and metrics".to_string());
        }
        let nodes = NodeNames::default();
        let mut addresses = Vec::new();
        for receiver in receivers {
            match Address::new(receiver, &nodes) {
                Ok(address) => addresses.push(address),
                Err(error) => wrong.push(format!("[[receiver]]: {error}")),
            }
        }
        check_lasting(&written.route, None, Span::from_secs(4 * 3600), receivers, &mut wrong);
        let routing = match Routing::new(written.clone(), receivers.iter().map(known).collect()) {
            Ok(routing) if wrong.is_empty() => routing,
            Ok(_) => return Err(wrong),
            Err(errors) => {
                wrong.extend(errors);
                return Err(wrong);
            }
        };
        let listeners =
            matrix::listeners(receivers).map_err(|error| vec![format!("[[receiver]]: {error}")])?;
        let redact = receivers.iter().map(|receiver| (receiver.name.clone(), receiver.redact)).collect();
        Ok(Some(Plan { routing, addresses, listeners, hidden: Hidden { redact, nodes } }))
    }

    /// Name of the receiver at the root, which is told of the program's own trouble.
    pub fn root(&self) -> String {
        let root = self.routing.route.receiver.clone();
        root.or_else(|| self.addresses.first().map(|address| address.name.clone())).unwrap_or_default()
    }
}

/// An Alertmanager resolves an alert that still fires if it is not told of it again in time. `above` are the receiver and
/// the `repeat_interval` that a route inherits.
fn check_lasting(
    route: &Route,
    above: Option<&str>,
    repeat: Span,
    receivers: &[ReceiverConfig],
    wrong: &mut Vec<String>,
) {
    let told = route.receiver.as_deref().or(above);
    let repeat = route.repeat_interval.unwrap_or(repeat);
    for receiver in receivers.iter().filter(|receiver| Some(receiver.name.as_str()) == told) {
        let Some(config) = receiver.alertmanager.as_ref().filter(|config| config.lasting <= repeat) else {
            continue;
        };
        let text = format!(
            "[[receiver]] {:?}: alertmanager.lasting is {} s, expected more than the {} s of repeat_interval of its route",
            receiver.name,
            config.lasting.millis() / 1000,
            repeat.millis() / 1000
        );
        if !wrong.contains(&text) {
            wrong.push(text);
        }
    }
    for below in &route.routes {
        check_lasting(below, told, repeat, receivers, wrong);
    }
}

/// What dispatch must know of a receiver.
fn known(receiver: &ReceiverConfig) -> Receiver {
    Receiver {
        name: receiver.name.clone(),
        wakes: receiver.wakes,
        send_resolved: receiver.send_resolved,
        rate_limit: receiver
            .rate_limit
            .map(|limit| RateLimit { notifications: limit.notifications, per: limit.per }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::config::Config;

    #[track_caller]
    fn check(lasting: &str, repeat: &str, is_right: bool) {
        let text = format!(
            "data = \"x\"\n[[receiver]]\nname = \"am\"\n[receiver.alertmanager]\nurls = [\"http://a:9093\"]\n{lasting}\n\
             [dispatch.route]\nreceiver = \"am\"\n[[dispatch.route.routes]]\nmatchers = ['node=\"a\"']\n{repeat}\n"
        );
        match Config::parse(&text) {
            Ok(_) => assert!(is_right, "{text}"),
            Err(error) => {
                let error = format!("{error:#}");
                assert!(!is_right && error.contains("alertmanager.lasting is"), "{error}");
            }
        }
    }

    #[test]
    fn names_of_all_configured_nodes_are_known_before_any_alert() {
        let text = "data = \"x\"\n[[node]]\nname = \"hal\"\n[[nats]]\nname = \"far\"\nurl = \"nats://a:4222\"\nnode = \"bob\"\n\
            [[receiver]]\nname = \"ops\"\nredact = \"addresses_and_nodes\"\n[receiver.webhook]\nurl = \"http://a/\"\n\
            [dispatch.route]\nreceiver = \"ops\"\n";
        let plan =
            Config::parse(text).and_then(|config| config.plan()).expect("it is right").expect("a plan");
        assert_eq!(plan.hidden.nodes.all(), ["hal", "bob"].map(str::to_string).into());
        assert!(plan.hidden.hides_nodes());
    }

    #[test]
    fn an_alertmanager_must_be_told_again_before_it_resolves_by_itself() {
        check("", "", true);
        check("lasting = \"5h\"", "", true);
        check("lasting = \"4h\"", "", false);
        check("lasting = \"5h\"", "repeat_interval = \"6h\"", false);
        check("", "repeat_interval = \"7d\"", false);
        check("lasting = \"8d\"", "repeat_interval = \"7d\"", true);
    }
}
