//! Creates the clients of remotes in clouds. Credentials and endpoints are read from the
//! environment variables that each cloud's own tools use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Place;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::remote::RemoteError;

/// A dead network must be noticed within seconds; a large object may take as long as bytes keep
/// coming.
fn client() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(Duration::from_secs(30))
        .with_timeout_disabled()
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(20),
        ..RetryConfig::default()
    }
}

/// The client for an address, and the path inside its bucket.
pub(super) fn cloud(
    address: &str,
    options: &BTreeMap<String, String>,
) -> Result<(Arc<dyn ObjectStore>, Place), RemoteError> {
    let wrong = |why: String| RemoteError::Address {
        name: address.to_owned(),
        why,
    };
    let url = Url::parse(address).map_err(|e| wrong(e.to_string()))?;
    let unknown = || wrong(format!("`{}://` is not known", url.scheme()));
    // Behind `https`, the host says which cloud it is.
    let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|e| match url.scheme() {
        "http" | "https" => wrong(e.to_string()),
        _ => unknown(),
    })?;
    // Client options first: the user's options come later and override them.
    macro_rules! client_of {
        ($builder:ty, $prefix:literal) => {{
            let mut builder = <$builder>::new()
                .with_client_options(client())
                .with_retry(retry())
                .with_url(url.as_str());
            for (name, value) in options {
                // Only names with the cloud's own prefix: a variable called TOKEN is not meant for
                // us.
                if name.starts_with($prefix)
                    && let Ok(key) = name.to_ascii_lowercase().parse()
                {
                    builder = builder.with_config(key, value);
                }
            }
            Arc::new(builder.build().map_err(|e| wrong(e.to_string()))?)
        }};
    }
    let objects: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => client_of!(AmazonS3Builder, "AWS_"),
        ObjectStoreScheme::GoogleCloudStorage => client_of!(GoogleCloudStorageBuilder, "GOOGLE_"),
        ObjectStoreScheme::MicrosoftAzure => client_of!(MicrosoftAzureBuilder, "AZURE_"),
        _ => return Err(unknown()),
    };
    Ok((objects, prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::TryStreamExt;
    use gfm_pipe_testing::Bucket;
    use object_store::{Error, ObjectStoreExt, PutMode, PutPayload};

    /// Everything that a remote asks of a client, over HTTP.
    #[tokio::test]
    async fn a_client_puts_gets_lists_and_deletes() {
        let bucket = Bucket::start().unwrap();
        let (objects, prefix) = cloud("s3://models/team", &bucket.variables("tester")).unwrap();
        let place = prefix.clone().join("a b.json");
        let put = |text: &'static str, mode: PutMode| {
            let payload = PutPayload::from_static(text.as_bytes());
            objects.put_opts(&place, payload, mode.into())
        };
        put("one", PutMode::Create).await.unwrap();
        let again = put("two", PutMode::Create).await.unwrap_err();
        assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
        put("three", PutMode::Overwrite).await.unwrap();
        let got = objects.get(&place).await.unwrap().bytes().await.unwrap();
        assert_eq!(&got[..], b"three");
        assert_eq!(&objects.get_range(&place, 1..3).await.unwrap()[..], b"hr");
        assert_eq!(objects.head(&place).await.unwrap().size, 5);
        let all: Vec<_> = objects.list(Some(&prefix)).try_collect().await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].location, place);
        objects.delete(&place).await.unwrap();
        let gone = objects.head(&place).await.unwrap_err();
        assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
        assert!(bucket.objects().is_empty());
        for kind in ["CREATE", "PUT", "GET", "HEAD", "LIST", "DELETE"] {
            assert!(bucket.requests(kind) > 0, "{kind}");
        }
    }

    #[tokio::test]
    async fn a_wrong_key_is_refused() {
        let bucket = Bucket::start().unwrap();
        let (objects, prefix) = cloud("s3://models/team", &bucket.variables("else")).unwrap();
        let refused = objects.head(&prefix.join("a")).await.unwrap_err();
        assert!(
            matches!(refused, Error::PermissionDenied { .. }),
            "{refused}"
        );
        assert_eq!(bucket.requests("REFUSED"), 1);
    }
}
