//! Organizers' sign-in: attempts, sessions, the cookie. Guests have no cookie at all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use hyper::HeaderMap;
use hyper::header::COOKIE;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::accounts::{Accounts, Ended, is_account_name};
use crate::date::rfc3339;
use crate::journal::{self, Attempt, Journal};
use crate::limit::{ClientAddr, Key, Table};
use crate::password::{Hash, Hashing, Password};
use crate::random;

/// Sessions live in memory: a restart signs everybody out.
pub(crate) struct Auth {
    accounts: RefCell<Accounts>,
    /// By the SHA-256 of the token, so that a memory image holds nothing that could be presented.
    sessions: RefCell<HashMap<[u8; 32], Session>>,
    journal: Option<RefCell<Journal>>,
    per_client: RefCell<Table>,
    per_account: RefCell<Table>,
    secure: bool,
}

/// SHA-256 of a session's token.
pub(crate) struct SessionKey([u8; 32]);

struct Session {
    account: String,
    /// Of the password that it began with: another password ends it.
    hash: Hash,
    expires: Instant,
}

#[derive(Serialize)]
pub(crate) struct Held {
    pub(crate) sessions: Vec<HeldSession>,
    /// `None`: this server notes none.
    pub(crate) sign_ins: Option<Vec<journal::SignIn>>,
}

#[derive(Serialize)]
pub(crate) struct HeldSession {
    ends_at: String,
}

pub(crate) enum Deletion {
    Done,
    WrongPassword,
    TooManyAttempts,
    Busy,
    /// The accounts file cannot be written.
    NotStored,
}

pub(crate) enum SignIn {
    /// The value of `Set-Cookie`.
    Welcome(Zeroizing<String>),
    WrongCredentials,
    TooManyAttempts,
    Busy,
}

/// A working day with some room.
const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Failed attempts per minute: of a whole campus behind one address, and against one account. The second is higher, so
/// that no single host can lock an organizer out.
const FAILURES_PER_CLIENT: u16 = 30;
const FAILURES_PER_ACCOUNT: u16 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// Far above any number of organizers at work; the oldest session gives way.
const SESSIONS_MAX: usize = 10_000;

impl Auth {
    /// `secure`: browsers reach us by https.
    pub(crate) fn new(accounts: Accounts, journal: Option<Journal>, secure: bool) -> Auth {
        Auth {
            journal: journal.map(RefCell::new),
            accounts: RefCell::new(accounts),
            sessions: RefCell::default(),
            per_client: RefCell::new(Table::new(FAILURES_PER_CLIENT, WINDOW)),
            per_account: RefCell::new(Table::new(FAILURES_PER_ACCOUNT, WINDOW)),
            secure,
        }
    }

    pub(crate) async fn sign_in(
        &self,
        hashing: &Hashing,
        client: ClientAddr,
        account: &str,
        password: Password,
    ) -> SignIn {
        let now = Instant::now();
        let (by_client, by_account) = (Key::Client(client), Key::Name(account.as_bytes()));
        if self.per_client.borrow_mut().is_spent(now, &by_client)
            || self.per_account.borrow_mut().is_spent(now, &by_account)
        {
            return SignIn::TooManyAttempts;
        }
        // Charged before the hash is known, so that parallel attempts cannot slip through; success pays it back.
        self.per_client.borrow_mut().charge(now, &by_client);
        self.per_account.borrow_mut().charge(now, &by_account);
        self.accounts.borrow_mut().refresh();
        let hash = self.accounts.borrow().hash_of(account).filter(|_| is_account_name(account));
        let verified = match hashing.turn().await {
            Ok(turn) => turn.verify(password, hash.clone()).await,
            Err(overloaded) => Err(overloaded),
        };
        match (verified, hash) {
            (Ok(true), Some(hash)) => {
                self.per_client.borrow_mut().refund(&by_client);
                self.per_account.borrow_mut().refund(&by_account);
                self.note(Attempt::Succeeded { account });
                SignIn::Welcome(self.begin_session(account, hash))
            }
            (Ok(_), hash) => {
                self.note(hash.map_or(Attempt::UnknownAccount, |_| Attempt::WrongPassword { account }));
                SignIn::WrongCredentials
            }
            (Err(_), _) => SignIn::Busy,
        }
    }

    /// Deletes an account whose owner, being signed in, has given the password once more. Its sessions end.
    pub(crate) async fn delete(
        &self,
        hashing: &Hashing,
        client: ClientAddr,
        account: &str,
        password: Password,
    ) -> Deletion {
        let now = Instant::now();
        let (by_client, by_account) = (Key::Client(client), Key::Name(account.as_bytes()));
        if self.per_client.borrow_mut().is_spent(now, &by_client)
            || self.per_account.borrow_mut().is_spent(now, &by_account)
        {
            return Deletion::TooManyAttempts;
        }
        self.per_client.borrow_mut().charge(now, &by_client);
        self.per_account.borrow_mut().charge(now, &by_account);
        let hash = self.accounts.borrow().hash_of(account);
        let verified = match hashing.turn().await {
            Ok(turn) => turn.verify(password, hash).await,
            Err(overloaded) => Err(overloaded),
        };
        match verified {
            Ok(true) => {
                self.per_client.borrow_mut().refund(&by_client);
                self.per_account.borrow_mut().refund(&by_account);
                if self.accounts.borrow_mut().remove(account).is_err() {
                    return Deletion::NotStored;
                }
                self.sessions.borrow_mut().retain(|_, session| session.account != account);
                Deletion::Done
            }
            Ok(false) => Deletion::WrongPassword,
            Err(_) => Deletion::Busy,
        }
    }

    /// Ends the session, if there is one, and gives the cookie that deletes the cookie.
    pub(crate) fn sign_out(&self, headers: &HeaderMap) -> String {
        if let Some(token) = self.token(headers) {
            self.sessions.borrow_mut().remove(&random::sha256(token.as_bytes()));
        }
        format!("{}=; {}; Max-Age=0", self.cookie_name(), self.cookie_attributes())
    }

    /// The account that is signed in.
    pub(crate) fn account(&self, headers: &HeaderMap) -> Option<String> {
        self.account_of(&self.session(headers)?)
    }

    /// What a browser has shown, be it worth something or not.
    pub(crate) fn session(&self, headers: &HeaderMap) -> Option<SessionKey> {
        Some(SessionKey(random::sha256(self.token(headers)?.as_bytes())))
    }

    /// Whose session this is at this moment.
    pub(crate) fn account_of(&self, SessionKey(key): &SessionKey) -> Option<String> {
        let sessions = self.sessions.borrow();
        let session = sessions.get(key).filter(|session| session.expires > Instant::now())?;
        let hash = self.accounts.borrow().hash_of(&session.account)?;
        (hash == session.hash).then(|| session.account.clone())
    }

    /// What is held on an account beside its name and the hash of its password.
    pub(crate) fn held(&self, account: &str, now: Instant, wall: SystemTime) -> io::Result<Held> {
        let sessions = self.sessions.borrow();
        let mut ends: Vec<Duration> = sessions
            .values()
            .filter(|session| session.account == account)
            .map(|session| session.expires.saturating_duration_since(now))
            .collect();
        ends.sort();
        let sessions = ends.into_iter().map(|left| HeldSession { ends_at: rfc3339(wall + left) }).collect();
        let journal = self.journal.as_ref();
        let sign_ins = journal.map(|journal| journal.borrow().of_account(account)).transpose()?;
        Ok(Held { sessions, sign_ins })
    }

    /// Forgets what is over. Returns the accounts that ended beside the server.
    #[must_use]
    pub(crate) fn on_timeout(&self, now: Instant) -> Vec<Ended> {
        self.sessions.borrow_mut().retain(|_, session| session.expires > now);
        self.per_client.borrow_mut().turn(now);
        self.per_account.borrow_mut().turn(now);
        let mut accounts = self.accounts.borrow_mut();
        accounts.refresh();
        accounts.take_ended()
    }

    /// Where sign-ins are written down, if they are.
    pub(crate) fn journal(&self) -> Option<&RefCell<Journal>> {
        self.journal.as_ref()
    }

    fn note(&self, attempt: Attempt<'_>) {
        if let Some(journal) = &self.journal {
            journal.borrow_mut().write(SystemTime::now(), attempt);
        }
    }

    fn begin_session(&self, account: &str, hash: Hash) -> Zeroizing<String> {
        let token = random::token();
        let session =
            Session { account: account.to_owned(), hash, expires: Instant::now() + SESSION_LIFETIME };
        let mut sessions = self.sessions.borrow_mut();
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.expires).map(|(key, _)| *key);
            oldest.and_then(|key| sessions.remove(&key));
        }
        sessions.insert(random::sha256(token.as_bytes()), session);
        let cookie = format!(
            "{}={}; {}; Max-Age={}",
            self.cookie_name(),
            *token,
            self.cookie_attributes(),
            SESSION_LIFETIME.as_secs()
        );
        Zeroizing::new(cookie)
    }

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, token) = pairs.find(|(name, _)| *name == self.cookie_name())?;
        (token.len() == 64).then_some(token)
    }

    fn cookie_name(&self) -> &'static str {
        if self.secure { "__Host-saal" } else { "saal" }
    }

    fn cookie_attributes(&self) -> &'static str {
        if self.secure {
            "Path=/; Secure; HttpOnly; SameSite=Strict"
        } else {
            "Path=/; HttpOnly; SameSite=Strict"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client() -> ClientAddr {
        ClientAddr::new(Ipv4Addr::LOCALHOST.into())
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn headers(set_cookie: &str) -> HeaderMap {
        let pair = set_cookie.split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, pair.parse().unwrap())])
    }

    #[test]
    fn a_session_begins_with_the_password_and_ends_with_sign_out() {
        let auth = Auth::new(Accounts::demo("demo", &Password::new("right")).unwrap(), None, true);
        let hashing = Hashing::new().unwrap();
        let SignIn::Welcome(cookie) = run(auth.sign_in(&hashing, client(), "demo", Password::new("right")))
        else {
            panic!("refused")
        };
        assert!(cookie.starts_with("__Host-saal=") && cookie.contains("Secure; HttpOnly; SameSite=Strict"));
        let headers = headers(&cookie);
        assert_eq!(auth.account(&headers).as_deref(), Some("demo"));
        auth.sign_out(&headers);
        assert_eq!(auth.account(&headers), None);
    }

    #[test]
    fn known_and_unknown_accounts_fail_alike_until_the_budget_is_spent() {
        let auth = Auth::new(Accounts::demo("demo", &Password::new("right")).unwrap(), None, false);
        let hashing = Hashing::new().unwrap();
        for account in ["demo", "nobody"] {
            let answer = run(auth.sign_in(&hashing, client(), account, Password::new("wrong")));
            assert!(matches!(answer, SignIn::WrongCredentials));
            for _ in 0..FAILURES_PER_ACCOUNT {
                auth.per_account.borrow_mut().charge(Instant::now(), &Key::Name(account.as_bytes()));
            }
            let answer = run(auth.sign_in(&hashing, client(), account, Password::new("right")));
            assert!(matches!(answer, SignIn::TooManyAttempts));
        }
    }

    #[test]
    fn one_host_cannot_lock_an_organizer_out() {
        let auth = Auth::new(Accounts::demo("demo", &Password::new("right")).unwrap(), None, false);
        let hashing = Hashing::new().unwrap();
        while !auth.per_client.borrow_mut().is_spent(Instant::now(), &Key::Client(client())) {
            run(auth.sign_in(&hashing, client(), "demo", Password::new("wrong")));
        }
        let elsewhere = ClientAddr::new(Ipv4Addr::new(192, 0, 2, 1).into());
        let answer = run(auth.sign_in(&hashing, elsewhere, "demo", Password::new("right")));
        assert!(matches!(answer, SignIn::Welcome(_)));
    }

    #[test]
    fn another_password_ends_the_sessions_of_the_old_one() {
        let auth = Auth::new(Accounts::demo("demo", &Password::new("old")).unwrap(), None, false);
        let hash = auth.accounts.borrow().hash_of("demo").unwrap();
        let headers = headers(&auth.begin_session("demo", hash));
        assert!(auth.account(&headers).is_some());
        auth.accounts.borrow_mut().add("demo", &Password::new("new")).unwrap();
        assert!(auth.account(&headers).is_none());
    }

    #[test]
    fn a_session_ends_after_its_lifetime() {
        let auth = Auth::new(Accounts::demo("demo", &Password::new("x")).unwrap(), None, false);
        let hash = auth.accounts.borrow().hash_of("demo").unwrap();
        let headers = headers(&auth.begin_session("demo", hash));
        assert!(auth.account(&headers).is_some());
        assert_eq!(auth.on_timeout(Instant::now() + SESSION_LIFETIME), []);
        assert!(auth.account(&headers).is_none());
    }
}
