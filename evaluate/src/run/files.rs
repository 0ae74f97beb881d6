//! Files of an evaluation of tasks, under the names that Kronfluence pipelines and DeepEval give them.

use gstore_data::Content;
use serde_json::{Map, Value, json};

use super::{ModelAnswer, TaskOutcome};
use crate::error::EvaluateError;
use crate::file_names::{each_once, in_file_names};
use crate::report::{Csv, File};
use crate::tasks::{Ask, Question};

impl TaskOutcome {
    /// The answers of every model to every question, as CSV.
    ///
    /// # Errors
    /// None that can be expected: it is written to memory.
    pub fn rows(&self) -> Result<Vec<u8>, EvaluateError> {
        let header =
            ["task", "id", "system", "prediction", "expected", "acc", "acc_norm", "exact_match", "f1", "raw"];
        let mut table = Csv::new(header)?;
        for (row, question) in self.questions.iter().enumerate() {
            for (system, answers) in self.report.systems.iter().zip(&self.answers) {
                let ModelAnswer { prediction, raw, values } = &answers[row];
                let [first, second] = values.map(|value| value.to_string());
                let none = String::new;
                let values = match question.ask {
                    Ask::Choose { .. } => [first, second, none(), none()],
                    Ask::Answer { .. } => [none(), none(), first, second],
                };
                let mut line = vec![question.task.to_string(), question.id.clone(), system.name.clone()];
                line.extend([prediction.clone(), expected(question)]);
                line.extend(values);
                line.push(raw.clone());
                table.line(line)?;
            }
        }
        table.finish()
    }

    /// The files of a report's folder.
    ///
    /// # Errors
    /// None that can be expected: they are written to memory.
    pub fn files(&self) -> Result<Vec<File>, EvaluateError> {
        let mut files = self.report.files(self.report.markdown(), self.rows()?)?;
        let (mut scores, mut overall) = (Vec::new(), Map::new());
        let benchmark = in_file_names(&self.benchmark);
        let models = self.model_ids();
        let file_names = each_once(models.iter().map(|model| in_file_names(model)), &[]);
        for (number, (model, file_name)) in models.iter().zip(&file_names).enumerate() {
            let tasks = self.tasks(number);
            for (task, score) in &tasks {
                scores.push(json!({ "task_name": task, "model_id": model, "score": score }));
            }
            let score = share(&self.answers[number]);
            overall.insert(model.clone(), json!(score));
            let path = |end: &str| format!("deepeval/{benchmark}/{file_name}_{end}");
            let value = json!({ "benchmark": self.benchmark, "model_id": model, "overall_score": score });
            files.push(File::json(path("overall_score.json"), &value));
            let mut table = Csv::new(["Task", "Score"])?;
            for (task, score) in tasks {
                table.line([task, score.to_string()])?;
            }
            files.push(File::new(path("task_scores.csv"), table.finish()?));
            files.push(File::new(path("predictions.csv"), self.predictions(number)?));
        }
        let summary = json!({ self.benchmark.as_str(): overall });
        files.push(File::json("deepeval/benchmark_summary.json", &summary));
        files.push(File::json("deepeval_results/run_1/task_model_scores.json", &Value::Array(scores)));
        Ok(files)
    }

    fn model_ids(&self) -> Vec<String> {
        const BASE: &str = "base_model";
        let systems = &self.report.systems;
        let others = systems.iter().enumerate().filter(|(number, _)| *number != self.base);
        let others = others.map(|(_, system)| match systems.len() {
            2 => "finetuned_model".to_owned(),
            _ => system.name.clone(),
        });
        let mut names = each_once(others, &[BASE]);
        names.insert(self.base, BASE.to_owned());
        names
    }

    /// Each task's share of right answers.
    fn tasks(&self, number: usize) -> Vec<(String, f64)> {
        let (mut found, mut start) = (Vec::new(), 0);
        for task in self.questions.chunk_by(|a, b| a.task == b.task) {
            let answers = &self.answers[number][start..start + task.len()];
            found.push((task[0].task.to_string(), share(answers)));
            start += task.len();
        }
        found
    }

    fn predictions(&self, number: usize) -> Result<Vec<u8>, EvaluateError> {
        let mut table = Csv::new(["Task", "Input", "Prediction", "Expected", "Correct"])?;
        for ((question, prompt), answer) in
            self.questions.iter().zip(&self.prompts).zip(&self.answers[number])
        {
            let input = match &prompt.content {
                Content::Messages(messages) => messages.last().map_or("", |message| message.content.as_str()),
                Content::PromptCompletion { prompt, .. } | Content::Text(prompt) => prompt.as_str(),
            };
            let correct = (answer.values[0] as u8).to_string();
            let task = question.task.to_string();
            table.line([task, input.to_owned(), answer.prediction.clone(), expected(question), correct])?;
        }
        table.finish()
    }
}

/// The share of right answers.
fn share(answers: &[ModelAnswer]) -> f64 {
    answers.iter().map(|answer| answer.values[0]).sum::<f64>() / answers.len().max(1) as f64
}

/// What is right.
fn expected(question: &Question) -> String {
    match &question.ask {
        Ask::Choose { options, answer } => {
            options.get(*answer).map(|option| option.trim_start().to_owned()).unwrap_or_default()
        }
        Ask::Answer { expected, .. } => expected.join("\n"),
    }
}
