//! The simulated engine over real sockets.

#[cfg(test)]
mod abort;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod client;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod personalities;
#[cfg(test)]
mod pooling;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod versions;
