//! Recipe of the models of a ground truth: all are trained alike, but for their rows and seeds.

use gstore_core::Remedy;
use gstore_train::difference;
use serde_json::Value;

use super::TruthFolder;
use super::files::place_new;
use crate::error::EvaluateError;
use crate::records::read_json;

/// What recipes do not have that were noted before these keys were: it is not known of their models.
const LATER: [&str; 2] = ["tokenizer", "template digest"];

/// The key of the precision of losses. Where a recipe lacks it, they were computed in that of the models.
const OF_LOSSES: &str = "precision of losses";

/// What differs between two recipes, but for what one of them does not know.
pub(super) fn differing(noted: &Value, asked: &Value) -> Option<String> {
    let (mut noted, mut asked) = (noted.clone(), asked.clone());
    for recipe in [&mut noted, &mut asked] {
        let precision = recipe.get("precision").filter(|_| recipe.get(OF_LOSSES).is_none()).cloned();
        if let Some(precision) = precision {
            recipe[OF_LOSSES] = precision;
        }
    }
    for key in LATER {
        if [&noted, &asked].iter().any(|recipe| recipe.get(key).is_none_or(Value::is_null)) {
            for recipe in [&mut noted, &mut asked] {
                recipe.as_object_mut().map(|keys| keys.remove(key));
            }
        }
    }
    difference(&noted, &asked, &[])
}

/// How the models of a folder are trained, as it is noted there.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe(Value);

impl TruthFolder {
    /// Whether it is noted how models are trained.
    pub fn has_recipe(&self) -> bool {
        self.folder.join("recipe.json").exists()
    }

    /// Notes how models are trained, or compares with how they were; gives what is noted, which what they say
    /// is recorded with.
    ///
    /// # Errors
    /// Another way of training than that of the first run.
    pub fn agree_on_recipe(&self, recipe: &Value) -> Result<Recipe, EvaluateError> {
        if !self.has_recipe() {
            place_new(&self.folder, "recipe.json", format!("{recipe:#}\n").as_bytes())?;
        }
        // Another job may have noted its own meanwhile.
        let noted = self.recipe()?;
        match differing(&noted, recipe) {
            None => Ok(Recipe(noted)),
            Some(what) => Err(self.bad(
                "recipe.json",
                &format!(
                    "the models of this folder are trained otherwise: {what}; they differ in their rows alone\n  {}",
                    self.remedy()
                ),
            )),
        }
    }

    /// The recipe that a run was trained by, if the folder still has it.
    pub(super) fn still(&self, agreed: &Recipe, run: usize) -> Result<Value, EvaluateError> {
        let noted = self.recipe()?;
        if noted == agreed.0 {
            return Ok(noted);
        }
        let what = format!(
            "it was changed while run {run} was trained, whose outputs are not kept: put it back and run the same command again"
        );
        Err(self.bad("recipe.json", &what))
    }

    /// The way out where a folder holds another ground truth than the one that is asked for.
    pub(super) fn remedy(&self) -> String {
        format!(
            "give another folder with {}, or replace {} with {}: its runs are then done once more",
            Remedy::Option("truth", ""),
            self.folder.display(),
            Remedy::Option("force", "")
        )
    }

    pub(super) fn recipe(&self) -> Result<Value, EvaluateError> {
        let path = self.folder.join("recipe.json");
        if !path.exists() {
            return Err(self.bad(
                "recipe.json",
                "it is not there, and it records how the models of the outputs were trained: put it back, or start again in \
                 another folder",
            ));
        }
        read_json(&path)
    }
}
