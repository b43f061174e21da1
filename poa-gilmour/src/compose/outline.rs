//! The shape of a composition, for who draws it.

use serde::Serialize;

use super::{Action, Composition, Step};

/// One step of a composition, as its author sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outline {
    /// How many operators it is within.
    pub depth: usize,
    /// `requests`, `lambda`, `pipe`, `andand`, `oror`, `batch` or `parallel`.
    pub operator: &'static str,
    /// The topic of a request, the path of a lambda.
    pub target: Option<String>,
}

impl Composition {
    /// All its steps, an operator before the steps in it. A [`Watcher`](super::Watcher) is told of them by their index here.
    #[must_use]
    pub fn outline(&self) -> Vec<Outline> {
        let mut outline = Vec::new();
        self.0.draw(0, &mut outline);
        outline
    }
}

impl Step {
    fn draw(&self, depth: usize, outline: &mut Vec<Outline>) {
        let (operator, target) = self.action.named();
        outline.push(Outline { depth, operator, target });
        self.action.steps().iter().for_each(|step| step.draw(depth + 1, outline));
    }
}

impl Action {
    fn named(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Request { topic, .. } => ("requests", Some(topic.to_string())),
            Self::Lambda(path) => ("lambda", Some(path.clone())),
            Self::Pipe(_) => ("pipe", None),
            Self::AndAnd(_) => ("andand", None),
            Self::OrOr(_) => ("oror", None),
            Self::Batch { .. } => ("batch", None),
            Self::Parallel(_) => ("parallel", None),
        }
    }
}
