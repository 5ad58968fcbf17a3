//! The cookies of one sender (RFC 6265): kept as answers set them, sent back where they belong.

use std::cmp::Reverse;

use cookie_store::CookieStore;
use url::Url;

use crate::message::Message;
use crate::target::Target;

/// The cookies of one sender. Costs nothing until an answer sets the first one.
#[derive(Debug, Default)]
pub(crate) struct Jar {
    store: Option<Box<CookieStore>>,
}

impl Jar {
    pub(crate) fn forget(&mut self) {
        self.store = None;
    }

    /// Keeps what an answer to `message` sets. What is no cookie, or one that this server may not
    /// set, is passed over, as browsers do.
    pub(crate) fn keep(&mut self, message: &Message, set_cookies: &[String]) {
        if set_cookies.is_empty() {
            return;
        }
        let Some(url) = url(message) else {
            return;
        };
        let store = self.store.get_or_insert_default();
        for set_cookie in set_cookies {
            if let Err(error) = store.parse(set_cookie, &url) {
                tracing::debug!(%url, set_cookie, %error, "not kept as a cookie");
            }
        }
    }

    /// The `cookie` header of a request; `None` when no cookie belongs there.
    pub(crate) fn header(&self, message: &Message) -> Option<String> {
        let store = self.store.as_ref()?;
        let mut cookies = store.matches(&url(message)?);
        // The longer the path, the earlier (RFC 6265, section 5.4).
        cookies.sort_by_key(|cookie| Reverse(cookie.path.len()));
        let cookies = cookies.iter().map(|cookie| cookie.stripped().to_string());
        let cookies: Vec<String> = cookies.collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }
}

fn url(message: &Message) -> Option<Url> {
    let Target { authority, .. } = &*message.target;
    let scheme = message.target.scheme();
    let path = message.parts().path;
    Url::parse(&format!("{scheme}://{authority}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use holdfast_core::experiment::Connections;

    fn request(url: &str, path: &str) -> Message {
        let target = Arc::new(Target::parse(url, None).unwrap());
        let mut message = Message::new(target, Connections::KeepAlive);
        let headers = std::iter::empty::<(&str, &str)>();
        message.write("GET", path, headers, None).unwrap();
        message
    }

    /// The cookies of a request, by name.
    fn sent(jar: &Jar, url: &str, path: &str) -> String {
        let header = jar.header(&request(url, path)).unwrap_or_default();
        let mut cookies: Vec<_> = header.split("; ").collect();
        cookies.sort_unstable();
        cookies.join(" ")
    }

    #[test]
    fn cookies_go_where_they_belong() {
        const SHOP: &str = "http://shop.example:8080";
        let mut jar = Jar::default();
        let orders = request(SHOP, "/orders?page=2");
        assert_eq!(jar.header(&orders), None);
        let set = [
            "session=abc; HttpOnly",
            "basket=1; Path=/orders",
            "admin=no; Path=/admin",
            "safe=yes; Secure",
            "wide=2; Domain=shop.example",
            "alien=1; Domain=other.example",
            "gone=1; Max-Age=0",
            "",
        ];
        let login = request(SHOP, "/login?next=/orders");
        jar.keep(&login, &set.map(str::to_owned));
        let header = jar.header(&orders).unwrap();
        assert_eq!(header.split("; ").next(), Some("basket=1"));
        assert_eq!(sent(&jar, SHOP, "/orders/7"), "basket=1 session=abc wide=2");
        assert_eq!(
            sent(&jar, "https://shop.example", "/"),
            "safe=yes session=abc wide=2"
        );
        assert_eq!(sent(&jar, "http://www.shop.example", "/"), "wide=2");
        assert_eq!(sent(&jar, "http://other.example", "/"), "");
        jar.keep(&login, &["session=new".to_owned()]);
        assert_eq!(sent(&jar, SHOP, "/"), "session=new wide=2");
        jar.forget();
        assert_eq!(jar.header(&orders), None);
    }
}
