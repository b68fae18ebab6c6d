//! The one place where texts are written: requests take turns, a token at a time.
//!
//! In → [`Job`]s; out → their [`Event`]s. **Method.** One thread holds the jobs in work. In a round
//! each job takes one turn of one of its texts: texts whose prompt is read go through the model in
//! one pass, which reads the weights once for all of them; the others read their prompts in
//! parallel on the machine's threads. The next round begins when all turns are done. So a client
//! that asks for much waits longer, and nobody else waits for it. Jobs wait in line, first come,
//! first served, until the caches of those in work leave room; a job that comes while the line is
//! full is refused ([`Busy`]). **Invariants.** What a job gives depends on the job alone. Caches
//! never take more than their share of `--memory`; a job whose client has gone gives up its place
//! before its next turn.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rayon::prelude::*;
use tokio::sync::mpsc::UnboundedSender;

use super::text::{Piece, Text};
use crate::base::error::{Error, Result};
use crate::base::size::{Bytes, Count};
use crate::runtime::model::ModelConfig;
use crate::train::Trained;

/// Jobs in work at once: more would make each slower, and none earlier.
const IN_WORK_MAX: usize = 32;
/// Jobs that wait in line.
const WAITING_MAX: usize = 256;

/// The texts of one request.
pub struct Job {
    /// The texts, each with its index among the choices of the answer.
    pub texts: VecDeque<(usize, Text)>,
    /// Bytes that their caches may take ([`Engine::cost`]).
    pub cost: u64,
    /// Sends events to the connection that answers the client.
    pub client: UnboundedSender<Event>,
}

/// An event of which the client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The next piece of a choice, by the choice's index.
    Piece(usize, Piece),
    /// The texts cannot be finished.
    Failed(String),
}

/// Why a job is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The line is full, with so many jobs waiting.
    Full(usize),
    /// The server is ending.
    Closed,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    line: Mutex<Line>,
    changed: Condvar,
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes texts on a thread of its own until it is dropped.
pub struct Engine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    model: ModelConfig,
    room: u64,
}

impl Engine {
    /// Starts the thread; `memory` bounds the model, which is already loaded, and the caches
    /// together.
    ///
    /// # Errors
    /// Config: there is no room for one text of the model's length.
    pub fn start(trained: Arc<Trained>, memory: Bytes) -> Result<Engine> {
        let model = trained.model.config().clone();
        let parameters = 4 * model.parameter_count();
        let room = memory.0.saturating_sub(parameters);
        let needed = cache_bytes(&model, trained.context);
        if needed > room {
            let message = format!(
                "`--memory` is {memory}: the model takes {}, and a text of {} tokens {}",
                Bytes(parameters),
                Count(trained.context as u64),
                Bytes(needed)
            );
            return Err(Error::config(message));
        }
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("engine".to_owned());
        let thread = thread.spawn(move || work(&trained, &of_thread, room));
        let thread =
            thread.map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
        Ok(Engine { shared, thread: Some(thread), model, room })
    }

    /// Bytes that the cache of a text of so many tokens takes.
    pub fn cost(&self, tokens: usize) -> u64 {
        cache_bytes(&self.model, tokens)
    }

    /// Bytes that all caches may take.
    pub fn room(&self) -> u64 {
        self.room
    }

    /// Puts a job, which must fit into [`Engine::room`], in line.
    pub fn submit(&self, job: Job) -> Result<(), Busy> {
        assert!(job.cost <= self.room, "{} bytes where {} are", job.cost, self.room);
        let mut line = self.shared.line();
        if line.is_closed {
            return Err(Busy::Closed);
        }
        if line.waiting.len() >= WAITING_MAX {
            return Err(Busy::Full(line.waiting.len()));
        }
        line.waiting.push_back(job);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Ends the texts in work with an error, and refuses further jobs.
    pub fn close(&self) {
        self.shared.line().is_closed = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // A turn that panicked has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Bytes of the keys and values of so many tokens in all blocks, in f32. The cache grows by
/// doubling, and the old and the new copy of one tensor exist together for a moment.
fn cache_bytes(model: &ModelConfig, tokens: usize) -> u64 {
    let width = (model.kv_heads() * model.head_dim()) as u64;
    let room = tokens.max(128).next_power_of_two() as u64;
    2 * 4 * model.n_layer as u64 * width * room + 4 * width * room
}

/// Runs rounds of turns until the line is closed.
fn work(trained: &Trained, shared: &Shared, room: u64) {
    let mut jobs: Vec<Job> = Vec::new();
    while admit(&mut jobs, shared, room) {
        round(trained, &mut jobs);
        jobs.retain(|job| !job.texts.is_empty());
    }
    let ending = || Event::Failed("the server is ending".to_owned());
    let waiting = std::mem::take(&mut shared.line().waiting);
    for job in jobs.into_iter().chain(waiting) {
        // A client that has gone need not hear of it.
        let _ = job.client.send(ending());
    }
}

/// Takes jobs from the line as long as there is room, and waits for one if none is in work. Returns
/// false when the line is closed.
fn admit(jobs: &mut Vec<Job>, shared: &Shared, room: u64) -> bool {
    let mut line = shared.line();
    while jobs.is_empty() && line.waiting.is_empty() && !line.is_closed {
        line = shared.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
    }
    let taken: u64 = jobs.iter().map(|job| job.cost).sum();
    let mut left = room - taken;
    while jobs.len() < IN_WORK_MAX
        && let Some(next) = line.waiting.front()
        && next.cost <= left
    {
        left -= next.cost;
        jobs.extend(line.waiting.pop_front());
    }
    !line.is_closed
}

/// Gives one text of each job one turn.
fn round(trained: &Trained, jobs: &mut [Job]) {
    let (mut writing, reading): (Vec<&mut Job>, Vec<&mut Job>) =
        jobs.iter_mut().partition(|job| job.texts.front().is_some_and(|(_, it)| it.is_writing()));
    reading.into_par_iter().for_each(|job| {
        if let Some((choice, mut text)) = job.texts.pop_front() {
            let piece = text.turn(trained);
            job.tell(choice, text, piece);
        }
    });
    let mut texts: Vec<(usize, Text)> =
        writing.iter_mut().filter_map(|job| job.texts.pop_front()).collect();
    if texts.is_empty() {
        return;
    }
    let mut each: Vec<&mut Text> = texts.iter_mut().map(|(_, text)| text).collect();
    // Entered from the pool once, so that parallel loops inside are not handed to it one by one.
    let pieces = match rayon::scope(|_| Text::turns(trained, &mut each)) {
        Ok(pieces) => pieces.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => texts.iter().map(|_| Err(Error::failed(error.to_string()))).collect(),
    };
    for ((job, (choice, text)), piece) in writing.into_iter().zip(texts).zip(pieces) {
        job.tell(choice, text, piece);
    }
}

impl Job {
    /// Tells the client the result of a turn, and puts an unfinished text behind the job's other
    /// texts.
    fn tell(&mut self, choice: usize, text: Text, piece: Result<Piece>) {
        let event = match piece {
            Ok(piece) => {
                if piece.end.is_none() {
                    self.texts.push_back((choice, text));
                }
                Event::Piece(choice, piece)
            }
            Err(error) => {
                self.texts.clear();
                Event::Failed(error.to_string())
            }
        };
        if self.client.send(event).is_err() {
            self.texts.clear();
        }
    }
}
