//! One remote command.
use super::super::ExecEvent;
use crate::error::Result;
use bytes::Bytes;
/// x
#[derive(Debug)]
pub struct Reader;
impl Reader {
    pub(in crate::transport) async fn next(&mut self) -> Option<ExecEvent> {
        None
    }
}
/// x
#[derive(Debug)]
pub struct Writer;
impl Writer {
    pub(in crate::transport) async fn write(&mut self, _b: Bytes) -> Result<()> {
        Ok(())
    }
    pub(in crate::transport) async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
