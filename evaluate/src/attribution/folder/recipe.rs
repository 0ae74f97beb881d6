//! How the models of a ground truth are trained: all of them alike, but for their rows and seeds.

use gstore_train::difference;
use serde_json::Value;

use super::{TruthFolder, place};
use crate::error::EvaluateError;

impl TruthFolder {
    /// Notes how models are trained, or compares with how they were.
    ///
    /// # Errors
    /// Another way of training than that of the first run.
    pub fn agree_on_recipe(&self, recipe: &Value) -> Result<(), EvaluateError> {
        if !self.folder.join("recipe.json").exists() {
            return place(&self.folder, "recipe.json", format!("{recipe:#}\n").as_bytes());
        }
        let noted = self.recipe()?;
        match difference(&noted, recipe, &[]) {
            None => Ok(()),
            Some(what) => Err(self.bad(
                "recipe.json",
                &format!(
                    "the models of this folder are trained otherwise: {what}; they differ in their rows alone"
                ),
            )),
        }
    }

    pub(super) fn recipe(&self) -> Result<Value, EvaluateError> {
        let text = fs_err::read(self.folder.join("recipe.json"))?;
        serde_json::from_slice(&text).map_err(|error| self.bad("recipe.json", &error.to_string()))
    }
}
