//! stub
use super::*;
impl Engine {
    /// stub
    pub fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
    /// stub
    pub fn restore(library: Library, _s: &[u8]) -> Result<(Engine, Vec<String>), (Library, String)> {
        Ok((Engine::new(library), vec![]))
    }
    /// stub
    pub fn reload(&mut self, _l: Library) -> (Vec<Change>, Vec<String>) {
        (vec![], vec![])
    }
}
