//! What is asked of the collector over HTTP.

use anyhow::ensure;
use serde_json::Value;

use crate::collector::Collector;

pub struct Client {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    pub fn of(collector: &Collector) -> Client {
        let url = format!("http://127.0.0.1:{}", collector.port);
        Client { url, key: collector.key.clone(), http: reqwest::Client::new() }
    }

    /// Sends an OTLP request: the status of the answer, which must be empty when it is good.
    pub async fn post(&self, body: Vec<u8>) -> anyhow::Result<u16> {
        let request = self.http.post(format!("{}/v1/traces", self.url)).bearer_auth(&self.key);
        let answer = request.header("content-type", "application/x-protobuf").body(body).send().await?;
        let status = answer.status().as_u16();
        let text = answer.bytes().await?;
        ensure!(status != 200 || text.is_empty(), "acknowledged only in part: {}", String::from_utf8_lossy(&text));
        Ok(status)
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        let answer = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await?;
        Ok(answer.error_for_status()?)
    }

    /// The row of the run that started last, as lists show it; null when there is none.
    pub async fn newest_run(&self) -> anyhow::Result<Value> {
        let mut page: Value = self.get("/runs?limit=1").await?.json().await?;
        Ok(page["items"][0].take())
    }
}
