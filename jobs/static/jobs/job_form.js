"use strict";
/* The job form: show the fields that matter for what is chosen, and preview the schedule before saving.
   Without this script every field is shown, and the preview is that of the saved form. */
(() => {
    const PAUSE_BEFORE_FETCH_MS = 250;
    const SCHEDULE_FIELDS = ["when", "cron", "every", "at", "timezone", "run_once"];
    const form = document.getElementById("job_form");
    const preview = document.getElementById("js-preview");
    if (!form || !preview) {
        return;
    }

    const chosen = (name) => (form.querySelector(`input[name="${name}"]:checked`) || {}).value;
    const row = (name) => form.querySelector(`.form-row.field-${name}`);

    const showWhatMatters = () => {
        for (const fieldset of form.querySelectorAll("fieldset.js-only")) {
            fieldset.classList.toggle("js-off", !fieldset.classList.contains(`js-for-${chosen("kind")}`));
        }
        const when = chosen("when");
        for (const name of ["cron", "every", "at"]) {
            row(name).classList.toggle("js-off", when !== name);
        }
        row("timezone").classList.toggle("js-off", when !== "cron" && when !== "at");
        row("run_once").classList.toggle("js-off", when !== "cron" && when !== "every");
    };

    const words = preview.querySelector(".js-words");
    const list = preview.querySelector("ol");
    const button = preview.querySelector("button");
    let latest = 0;

    const show = (answer) => {
        words.textContent = answer.words;
        words.classList.toggle("js-wrong", answer.wrong);
        list.replaceChildren(...answer.fires.map((fire) => {
            const item = document.createElement("li");
            item.textContent = fire;
            return item;
        }));
    };

    const ask = async () => {
        const mine = ++latest;
        const body = new URLSearchParams();
        for (const [name, value] of new FormData(form)) {
            if (SCHEDULE_FIELDS.includes(name)) {
                body.append(name, value);
            }
        }
        preview.classList.add("js-stale");
        let answer;
        try {
            const response = await fetch(preview.dataset.url, {
                method: "POST",
                body,
                headers: {"X-CSRFToken": form.querySelector("input[name=csrfmiddlewaretoken]").value},
                credentials: "same-origin",
                redirect: "error",
            });
            answer = response.ok
                ? await response.json()
                : {words: "There is no preview now: the server refused it. Are you still signed in?", fires: [], wrong: true};
        } catch {
            answer = {words: "There is no preview now: the server could not be reached.", fires: [], wrong: true};
        }
        if (mine === latest) {
            preview.classList.remove("js-stale");
            show(answer);
        }
    };

    let timer;
    const askSoon = (event) => {
        if (SCHEDULE_FIELDS.includes(event.target.name)) {
            clearTimeout(timer);
            timer = setTimeout(ask, PAUSE_BEFORE_FETCH_MS);
        }
    };

    form.addEventListener("change", showWhatMatters);
    form.addEventListener("input", askSoon);
    button.hidden = false;
    button.addEventListener("click", ask);
    showWhatMatters();
})();
