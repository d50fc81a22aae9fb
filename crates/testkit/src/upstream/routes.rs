//! Which answer a request gets.

use std::fmt;
use std::sync::Arc;

use super::log::Received;
use crate::script::Reply;

/// A computed answer.
type Compute = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;
/// A route's own test.
type Test = Arc<dyn Fn(&Received) -> bool + Send + Sync>;

/// What a route answers with.
#[derive(Clone)]
pub(super) enum Answer {
    Fixed(Box<Reply>),
    Computed(Compute),
}

/// Which requests a route is for.
#[derive(Clone)]
pub(super) enum Matcher {
    Path { method: String, path: String },
    Test(Test),
}

impl Matcher {
    fn is_same(&self, other: &Matcher) -> bool {
        match (self, other) {
            (Matcher::Path { method, path }, Matcher::Path { method: its_method, path: its_path }) => {
                method == its_method && path == its_path
            }
            _ => false,
        }
    }

    /// `None` when it cannot be known before the body is there.
    fn fits_head(&self, received: &Received) -> Option<bool> {
        let Matcher::Path { method, path } = self else { return None };
        let whole = if path.contains('?') { received.target.as_str() } else { received.path() };
        let fits = match path.strip_suffix('*') {
            Some(prefix) => whole.starts_with(prefix),
            None => whole == path,
        };
        Some(fits && (method == "*" || *method == received.method))
    }

    fn fits(&self, received: &Received) -> bool {
        match self {
            Matcher::Test(test) => test(received),
            Matcher::Path { .. } => self.fits_head(received).unwrap_or(false),
        }
    }
}

struct Route {
    matcher: Matcher,
    queue: Vec<Answer>,
    /// How many answers have been used; never more than there are.
    used: usize,
}

impl Route {
    fn next(&self) -> Option<&Answer> {
        self.queue.get(self.used).or(self.queue.last())
    }
}

/// All routes in the order in which they were defined.
#[derive(Default)]
pub(super) struct Routes {
    routes: Vec<Route>,
    pub(super) otherwise: Option<Reply>,
}

impl Routes {
    /// The index of the route with this matcher, made if there is none.
    pub(super) fn open(&mut self, matcher: Matcher) -> usize {
        if let Some(index) = self.routes.iter().position(|route| route.matcher.is_same(&matcher)) {
            return index;
        }
        self.routes.push(Route { matcher, queue: Vec::new(), used: 0 });
        self.routes.len() - 1
    }

    pub(super) fn add(&mut self, index: usize, answer: Answer) {
        self.routes[index].queue.push(answer);
    }

    pub(super) fn clear(&mut self, index: usize) {
        self.routes[index].queue.clear();
        self.routes[index].used = 0;
    }

    /// Takes the answer to a request of which only the head is there, if it is one that does not wait for more.
    pub(super) fn take_early(&mut self, received: &Received) -> Option<Reply> {
        for route in &mut self.routes {
            match (route.matcher.fits_head(received), route.next()) {
                (Some(true), Some(Answer::Fixed(reply))) if reply.early => {
                    let reply = Reply::clone(reply);
                    route.used = (route.used + 1).min(route.queue.len());
                    return Some(reply);
                }
                (Some(false), _) => {}
                _ => return None,
            }
        }
        None
    }

    /// Takes the answer to a whole request, or to the first that has one.
    pub(super) fn take(&mut self, received: &Received) -> Reply {
        let route = self.routes.iter_mut().find(|route| route.matcher.fits(received));
        let Some((route, answer)) =
            route.and_then(|route| route.next().cloned().map(|answer| (route, answer)))
        else {
            return self.otherwise.clone().unwrap_or_else(|| unknown(received));
        };
        route.used = (route.used + 1).min(route.queue.len());
        match answer {
            Answer::Fixed(reply) => *reply,
            Answer::Computed(compute) => compute(received),
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

fn unknown(received: &Received) -> Reply {
    let message = format!("the fake upstream has no answer to {} {}", received.method, received.target);
    let body = serde_json::json!({"error": {"message": message, "type": "NotFoundError", "code": 404}});
    Reply::json(404, body.to_string())
}
