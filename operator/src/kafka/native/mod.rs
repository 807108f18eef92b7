//! librdkafka's admin calls as plain Rust: names and numbers in, owned answers out. Blocking, each with a time limit.
//!
//! Why not the `rdkafka` crate's `AdminClient`: it has no incremental alter (its `alter_configs` resets every key that
//! it does not name), no topic ids, no offsets of other groups, and it drops the broker's own words. This module and
//! its parts are the only `unsafe` code of the operator.
//!
//! What makes it sound: codes are plain numbers here, since a broker can send one that the binding's enumerations do not
//! know, which no Rust enumeration may hold; every native object that is made here is owned by an [`Owned`], which frees it once; an answer's
//! parts are read while its event is alive and leave only as copies; a client outlives its calls, since they borrow it.

#![allow(unsafe_code, reason = "bindings of librdkafka; see above")]

mod calls;

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr::NonNull,
    time::{Duration, Instant},
};

use rdkafka::{ClientConfig, ClientContext, client::Client, types::RDKafkaType};
use rdkafka_sys::bindings as sys;

pub use self::calls::{ConfigSource, DescribedConfig, DescribedTopic, OffsetAt};

// As in librdkafka's header, but with numbers for enumerations.
#[allow(clashing_extern_declarations, reason = "a C enumeration and a C int are passed alike")]
unsafe extern "C" {
    fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
    fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
    fn rd_kafka_err2name(code: c_int) -> *const c_char;
    fn rd_kafka_AdminOptions_set_request_timeout(
        options: *mut Options,
        limit_ms: c_int,
        words: *mut c_char,
        size: usize,
    ) -> c_int;
    fn rd_kafka_AdminOptions_set_operation_timeout(
        options: *mut Options,
        limit_ms: c_int,
        words: *mut c_char,
        size: usize,
    ) -> c_int;
}

/// What a broker, or the client itself, says instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kafka's code; those of the client itself are negative.
    pub code: i32,
    /// The words of whoever refused.
    pub text: String,
}

/// Codes that the operator tells apart; numbers of Kafka's protocol, negative ones of librdkafka.
pub mod code {
    #![allow(missing_docs, reason = "the names are Kafka's")]
    pub const BAD_MESSAGE: i32 = -199;
    pub const CRITICAL_SYSTEM_RESOURCE: i32 = -194;
    pub const INVALID_ARGUMENT: i32 = -186;
    pub const TIMED_OUT: i32 = -185;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i32 = 3;
    pub const REQUEST_TIMED_OUT: i32 = 7;
    pub const NETWORK_EXCEPTION: i32 = 13;
    pub const NOT_COORDINATOR: i32 = 16;
    pub const NOT_CONTROLLER: i32 = 41;
    pub const INVALID_TOPIC: i32 = 17;
    pub const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
    pub const GROUP_AUTHORIZATION_FAILED: i32 = 30;
    pub const CLUSTER_AUTHORIZATION_FAILED: i32 = 31;
    pub const TOPIC_ALREADY_EXISTS: i32 = 36;
    pub const INVALID_CONFIG: i32 = 40;
    pub const POLICY_VIOLATION: i32 = 44;
    pub const SASL_AUTHENTICATION_FAILED: i32 = 58;
    pub const TOPIC_DELETION_DISABLED: i32 = 73;
    pub const THROTTLING_QUOTA_EXCEEDED: i32 = 89;
    pub const UNKNOWN_TOPIC_ID: i32 = 100;
}

/// The group that the client belongs to in name only.
const GROUP: &str = "candles-operator";
/// How long to wait for an answer before listening to what the client says meanwhile, ms.
const POLL_MS: c_int = 100;

/// A connection to one cluster.
pub struct Handle<C: ClientContext + 'static> {
    /// There until the drop.
    client: Option<Client<C>>,
}

impl<C: ClientContext + 'static> Drop for Handle<C> {
    /// Ending a client waits for its threads, and those perhaps for a broker: nobody else has to wait with them.
    fn drop(&mut self) {
        let client = self.client.take();
        std::thread::spawn(move || drop(client));
    }
}

/// A native object and how it is freed.
struct Owned<T> {
    object: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` when the library had no memory, or refused the arguments.
    fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object, free })
    }

    fn ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `object` came from the library together with the function that frees it, and nobody else frees it.
        unsafe { (self.free)(self.object.as_ptr()) }
    }
}

type Event = Owned<sys::rd_kafka_event_t>;
type Options = sys::rd_kafka_AdminOptions_t;
type Queue = sys::rd_kafka_queue_t;

/// Gets the client's own words about its connections.
pub trait Hears {
    /// A connection failed.
    fn hear(&self, line: &str);
}

impl<C: ClientContext + Hears + 'static> Handle<C> {
    /// Makes a client; it connects when it is first used.
    pub fn new(config: &ClientConfig, context: C) -> Result<Self, rdkafka::error::KafkaError> {
        // A consumer that never joins its group. When a coordinator has moved, a client without a group ends the process
        // (SIGSEGV, librdkafka issue 5040). (`a_coordinator_that_has_moved_is_an_error_and_not_the_end`)
        let mut config = config.clone();
        config.set("group.id", GROUP);
        let native = config.create_native_config()?;
        let client = Client::new(&config, native, RDKafkaType::RD_KAFKA_CONSUMER, context)?;
        Ok(Self { client: Some(client) })
    }

    fn client(&self) -> &Client<C> {
        self.client.as_ref().expect("it is there until the drop")
    }

    /// Where the client tells what happens to its connections.
    pub fn context(&self) -> &C {
        self.client().context()
    }

    /// The id of the cluster, once a broker has answered.
    pub fn cluster_id(&self, limit: Duration) -> Option<String> {
        self.client().fetch_cluster_id(limit)
    }

    /// Sends one request and waits for its answer.
    fn call(
        &self,
        limit: Duration,
        send: impl FnOnce(*mut sys::rd_kafka_t, *const Options, *mut Queue),
    ) -> Result<Event, Failure> {
        let rk = self.client().native_ptr();
        let limit_ms = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: `rk` lives as long as `self`. Options and queue are freed by their owners after the answer came or
        // the wait ended; librdkafka keeps references of its own to a queue that a request still uses.
        let event = unsafe {
            let any = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ANY;
            let options =
                Owned::new(sys::rd_kafka_AdminOptions_new(rk, any), sys::rd_kafka_AdminOptions_destroy)
                    .ok_or_else(no_memory)?;
            let mut words = [0 as c_char; 256];
            for set in [
                rd_kafka_AdminOptions_set_request_timeout,
                // The broker answers when a change is done, not when it is accepted. Reads ignore it: its code is not
                // looked at.
                rd_kafka_AdminOptions_set_operation_timeout,
            ] {
                set(options.ptr(), limit_ms, words.as_mut_ptr(), words.len());
            }
            let queue =
                Owned::new(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy).ok_or_else(no_memory)?;
            send(rk, options.ptr(), queue.ptr());
            self.wait(queue.ptr(), limit)
        };
        self.listen();
        let event = event.ok_or_else(|| Failure {
            code: code::TIMED_OUT,
            text: format!("no answer within {} s", limit.as_secs_f32()),
        })?;
        // SAFETY: the event is alive; the text is copied.
        unsafe {
            let code = rd_kafka_event_error(event.ptr());
            check(code, sys::rd_kafka_event_error_string(event.ptr()))?;
        }
        Ok(event)
    }
}

impl<C: ClientContext + Hears + 'static> Handle<C> {
    /// The answer, or `None` long after the request's own limit: from a library that is stuck.
    ///
    /// # Safety
    /// `queue` is alive.
    unsafe fn wait(&self, queue: *mut Queue, limit: Duration) -> Option<Event> {
        let until = Instant::now() + limit + Duration::from_millis(500);
        while Instant::now() < until {
            // SAFETY: as promised by the caller; the event is freed by its owner.
            let event = unsafe { sys::rd_kafka_queue_poll(queue, POLL_MS) };
            if let Some(event) = Owned::new(event, sys::rd_kafka_event_destroy) {
                return Some(event);
            }
            self.listen();
        }
        None
    }

    /// Takes what the client says about its connections from its main queue.
    fn listen(&self) {
        // SAFETY: the client is alive. Queue and events are freed by their owners; the text is copied.
        unsafe {
            let main = sys::rd_kafka_queue_get_main(self.client().native_ptr());
            let Some(main) = Owned::new(main, sys::rd_kafka_queue_destroy) else { return };
            let next = || Owned::new(sys::rd_kafka_queue_poll(main.ptr(), 0), sys::rd_kafka_event_destroy);
            while let Some(event) = next() {
                if sys::rd_kafka_event_type(event.ptr()) == sys::RD_KAFKA_EVENT_ERROR
                    && let Some(text) = copied(sys::rd_kafka_event_error_string(event.ptr()))
                {
                    self.client().context().hear(&text);
                }
            }
        }
    }
}

/// `Err` unless `code` is no error.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn check(code: c_int, text: *const c_char) -> Result<(), Failure> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: as promised by the caller; the library has a name for every number.
    let text = unsafe {
        let text = copied(text).filter(|text| !text.is_empty());
        text.or_else(|| copied(rd_kafka_err2name(code))).unwrap_or_else(|| format!("error {code}"))
    };
    Err(Failure { code, text })
}

/// The same for an error object that belongs to an answer.
///
/// # Safety
/// `error` is null or an error that is alive.
unsafe fn check_error(error: *const sys::rd_kafka_error_t) -> Result<(), Failure> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: as promised by the caller.
    unsafe { check(rd_kafka_error_code(error), sys::rd_kafka_error_string(error)) }
}

/// A copy of a C string.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn copied(text: *const c_char) -> Option<String> {
    // SAFETY: as promised by the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// The `count` pointers of an array that an answer owns.
///
/// # Safety
/// `array` is null, or has `count` entries that live as long as `'a`.
unsafe fn entries<'a, T>(array: *const *const T, count: usize) -> &'a [*const T] {
    if array.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { std::slice::from_raw_parts(array, count) }
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure {
        code: code::INVALID_ARGUMENT,
        text: format!("{text:?} holds a null character"),
    })
}

fn no_memory() -> Failure {
    Failure { code: code::CRITICAL_SYSTEM_RESOURCE, text: "the Kafka client has no memory".to_owned() }
}

fn odd_answer() -> Failure {
    Failure { code: code::BAD_MESSAGE, text: "the Kafka client gave an answer of another kind".to_owned() }
}
