//! TyDi QA's gold passages (Clark et al. 2020) in the layout of SQuAD, with the instructions that
//! open-instruct and LESS give in each language.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Ask, Question, Rule, TasksSource, folder, place, target};
use crate::error::EvaluateError;
use crate::metrics::Normal;
use crate::records::read_json;

/// Examples before a question where no number is asked for.
pub(super) const SHOTS: usize = 1;

/// The parts of a language's prompts.
struct Words {
    language: &'static str,
    instruction: &'static str,
    passage: &'static str,
    question: &'static str,
    answer: &'static str,
}

const fn words(language: &'static str, of: [&'static str; 4]) -> Words {
    let [instruction, passage, question, answer] = of;
    Words { language, instruction, passage, question, answer }
}

const WORDS: [Words; 9] = [
    words(
        "english",
        [
            "Answer the following question based on the information in the given passage.",
            "Passage:",
            "Question:",
            "Answer:",
        ],
    ),
    words(
        "arabic",
        ["أجب على السؤال التالي بناءً على المعلومات في المقطع المعطى.", "المقطع:", "السؤال:", "الإجابة:"],
    ),
    words(
        "bengali",
        ["প্রদত্ত অধ্যায়ের তথ্যের উপর ভিত্তি করে নিম্নলিখিত প্রশ্নের উত্তর দিন।", "অধ্যায়:", "প্রশ্ন:", "উত্তর:"],
    ),
    words(
        "finnish",
        [
            "Vastaa seuraavaan kysymykseen annetun kappaleen tiedon perusteella.",
            "Kappale:",
            "Kysymys:",
            "Vastaus:",
        ],
    ),
    words(
        "indonesian",
        [
            "Jawab pertanyaan berikut berdasarkan informasi di bagian yang diberikan.",
            "Bagian:",
            "Pertanyaan:",
            "Jawaban:",
        ],
    ),
    words("korean", ["주어진 문단의 정보에 기반하여 다음 질문에 답하십시오.", "문단:", "질문:", "답변:"]),
    words(
        "russian",
        [
            "Ответьте на следующий вопрос на основе информации в данном отрывке.",
            "Отрывок:",
            "Вопрос:",
            "Ответ:",
        ],
    ),
    words(
        "swahili",
        [
            "Jibu swali lifuatalo kulingana na habari kwenye kifungu kilichotolewa.",
            "Kifungu:",
            "Swali:",
            "Jibu:",
        ],
    ),
    words("telugu", ["ఇచ్చిన పేరాలోని సమాచారం ఆధారంగా కింది ప్రశ్నకు సమాధానం ఇవ్వండి.", "పేరా:", "ప్రశ్న:", "సమాధానం:"]),
];

/// The same of LESS's file in Chinese, for every language.
const CHINESE: Words = words("", ["根据所给文章中的信息回答以下问题。", "文章:", "问题:", "答案:"]);

/// A passage with a question.
struct Example {
    id: String,
    context: String,
    question: String,
    answers: Vec<String>,
}

impl Words {
    fn of(language: &str) -> Option<&'static Words> {
        WORDS.iter().find(|words| words.language == language)
    }

    /// A passage and its question, each on a line.
    fn text(&self, example: &Example) -> String {
        let Words { passage, question, .. } = self;
        format!("{passage} {}\n{question} {}\n", example.context, example.question)
    }
}

/// The questions of all languages.
pub(super) fn read(source: &TasksSource) -> Result<Vec<Question>, EvaluateError> {
    let folder = folder(source)?;
    let name = "tydiqa-goldp-v1.1-dev.json";
    let places =
        [name, &format!("dev/{name}"), &format!("tydiqa/{name}"), &format!("eval/tydiqa/dev/{name}")];
    let path = place(folder, &places, name)?;
    let rule = Rule { stop: vec!["\n".to_owned()], max_new_tokens: 50, pattern: None, normal: Normal::Squad };
    let rule = rule.with(&source.rule);
    let few_shot = source.few_shot.unwrap_or(SHOTS);
    let shots = if few_shot > 0 { one_shot(folder)?.1 } else { Vec::new() };
    let shots: HashMap<String, Vec<Example>> = shots.into_iter().collect();
    let mut questions = Vec::new();
    let mut known: HashMap<String, (Arc<str>, Arc<[String]>)> = HashMap::new();
    for example in squad(&path)? {
        let language = example.id.split('-').next().unwrap_or_default().to_owned();
        let Some(words) = Words::of(&language) else {
            let what =
                format!("question {:?} is in {language}, which the published prompts lack", example.id);
            return Err(EvaluateError::File { path, what });
        };
        let (task, shots) = known.entry(language.clone()).or_insert_with(|| {
            let of = |shot: &Example| {
                let answer = shot.answers.first().map_or("", String::as_str);
                format!("{}{} {answer}\n\n", words.text(shot), words.answer)
            };
            let own = shots.get(&language).map_or(&[][..], Vec::as_slice);
            (Arc::from(language.as_str()), own.iter().take(few_shot).map(of).collect())
        });
        questions.push(Question {
            task: Arc::clone(task),
            header: Arc::from(format!("{}\n\n", words.instruction)),
            shots: Arc::clone(shots),
            text: words.text(&example),
            begun: Arc::from(words.answer),
            plain_end: Arc::from(words.answer),
            verbatim: false,
            ask: Ask::Answer { expected: example.answers, rule: Arc::clone(&rule) },
            id: example.id,
        });
    }
    Ok(questions)
}

/// LESS's target samples: the first example of each language.
pub(super) fn targets(folder: &Path, chat: bool) -> Result<Vec<Value>, EvaluateError> {
    let (chinese, languages) = one_shot(folder)?;
    let mut found = Vec::new();
    for (language, examples) in languages {
        let Some(example) = examples.first() else { continue };
        let words = if chinese { Some(&CHINESE) } else { Words::of(&language) };
        let Some(words) = words else {
            return Err(EvaluateError::Option(format!(
                "the published prompts have no language {language:?}"
            )));
        };
        // As LESS has it, without a space behind the instruction.
        let text = format!("{}{}", words.instruction, words.text(example));
        let answer = format!(" {}", example.answers.first().map_or("", String::as_str));
        found.push(target(("tydiqa", &language, 0), &text, (words.answer, words.answer), &answer, chat));
    }
    Ok(found)
}

type ByLanguage = Vec<(String, Vec<Example>)>;

/// Whether LESS's file of examples is the one in Chinese, and the examples of each language in its order.
fn one_shot(folder: &Path) -> Result<(bool, ByLanguage), EvaluateError> {
    let names = ["tydiqa-one-shot.json", "tydiqa-one-shot-zh.json"];
    let places: Vec<String> = ["", "tydiqa/", "eval/tydiqa/", "../"]
        .iter()
        .flat_map(|below| names.iter().map(move |name| format!("{below}{name}")))
        .collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let path = place(folder, &places, "tydiqa-one-shot.json of LESS")?;
    let bad = |what: String| EvaluateError::File { path: path.clone(), what };
    let file: Value = read_json(&path)?;
    let languages = file.as_object().ok_or_else(|| bad("it is not an object of languages".to_owned()))?;
    let of = |(language, list): (&String, &Value)| {
        let list = list.as_array().ok_or_else(|| bad(format!("{language} is not a list")))?;
        let wrong = || bad(format!("an example of {language} lacks context, question or an answer"));
        let examples = list.iter().map(|value| example(value, value).ok_or_else(wrong));
        Ok((language.clone(), examples.collect::<Result<Vec<_>, EvaluateError>>()?))
    };
    let found = languages.iter().map(of).collect::<Result<Vec<_>, EvaluateError>>()?;
    Ok((path.to_string_lossy().ends_with("-zh.json"), found))
}

/// The questions of a file in SQuAD's layout.
fn squad(path: &Path) -> Result<Vec<Example>, EvaluateError> {
    let bad = |what: &str| EvaluateError::File { path: path.to_owned(), what: what.to_owned() };
    let file: Value = read_json(path)?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
    let articles = list(&file, "data").ok_or_else(|| bad("there is no list under `data`"))?;
    let mut found = Vec::new();
    for paragraph in articles.iter().filter_map(|article| list(article, "paragraphs")).flatten() {
        for question in list(&paragraph, "qas").unwrap_or_default() {
            let wrong = || bad("a question lacks its text, its passage or an answer");
            found.push(example(&question, &paragraph).ok_or_else(wrong)?);
        }
    }
    Ok(found)
}

fn example(question: &Value, paragraph: &Value) -> Option<Example> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let answers = question.get("answers")?.as_array()?;
    let answers: Vec<String> = answers.iter().filter_map(|answer| text(answer, "text")).collect();
    Some(Example {
        id: text(question, "id").unwrap_or_default(),
        context: text(paragraph, "context")?,
        question: text(question, "question")?,
        answers: Some(answers).filter(|answers| !answers.is_empty())?,
    })
}
