//! What nobody here can do, said in the words that clients of GoModel know.

use domain::{Deployment, Dialect, Fault, FaultKind, Operation};

use crate::{Instance, Inventory};

/// This instance cannot do it.
pub fn by(instance: &Instance, operation: Operation, dialect: Dialect) -> Fault {
    let kind = instance.spec.name;
    let (code, message) = match (operation, dialect) {
        (Operation::Rerank, _) => ("unsupported_rerank_operation", format!("{kind} does not support rerank")),
        (Operation::Generate, Dialect::Responses) => {
            ("unsupported_response_operation", format!("responses is not supported by {kind} provider"))
        }
        (Operation::Generate, Dialect::Messages) => {
            ("unsupported_operation", format!("messages is not supported by {kind} provider"))
        }
        _ => ("unsupported_operation", format!("{} is not supported by {kind} provider", operation.word())),
    };
    Fault::new(FaultKind::Unsupported, message).code(code)
}

/// This model cannot do it: the engine said what it can. Another model of the same provider may.
pub fn by_model(deployment: &Deployment, operation: Operation) -> Fault {
    let message = format!("{} is not supported by the model {}", operation.word(), deployment);
    Fault::new(FaultKind::Unsupported, message).code("unsupported_operation").param("model")
}

/// A route that exists although nothing behind it does. `kind` is the provider type that the client named, if any.
pub fn object(operation: Operation, id: Option<&str>, creates: bool, kind: Option<&str>) -> Fault {
    match (operation, id) {
        (Operation::File | Operation::Batch, _) if kind.is_some() => {
            let kind = kind.unwrap_or_default();
            let what = match operation {
                Operation::File => "native file operations",
                _ if kind == "ollama" => "native discounted batch processing",
                _ => "native batch processing",
            };
            Fault::invalid(format!("{kind} does not support {what}"))
        }
        (Operation::File, Some(id)) => Fault::new(FaultKind::NotFound, format!("file not found: {id}")),
        (Operation::Batch, Some(id)) => Fault::new(FaultKind::NotFound, format!("batch not found: {id}")),
        (Operation::File, None) if creates => Fault::invalid("no providers are available for file uploads"),
        (Operation::ResponseLifecycle, _) => {
            let message = "stored responses are not supported by any configured provider";
            Fault::new(FaultKind::Unsupported, message).code("unsupported_response_operation")
        }
        _ => {
            let message = format!("{} is not supported by any configured provider", operation.word());
            Fault::new(FaultKind::Unsupported, message).code("unsupported_operation")
        }
    }
}

/// The provider type behind a name that a client wrote: an instance's, or a type's.
pub fn kind_meant<'a>(inventory: &'a Inventory, named: Option<&'a str>) -> Option<&'a str> {
    let named = named.filter(|name| !name.is_empty())?;
    Some(inventory.named(named).map_or(named, |instance| instance.spec.name))
}
