"use strict";
/* The job form: show the fields that matter for what is chosen, and preview the schedule before saving.
   Without this script every field is shown, and the preview is that of the saved form. */
(() => {
    const PAUSE_BEFORE_FETCH_MS = 250;
    const REPEATED = ["cron", "every", "rrule"];
    const SCHEDULED = [...REPEATED, "at"];
    const SHOWN_FOR = {
        ...Object.fromEntries(SCHEDULED.map((name) => [name, [name]])),
        ...Object.fromEntries(["run_once", "start"].map((name) => [name, REPEATED])),
        ...Object.fromEntries(["timezone", "catch_up", "jitter", "exclude", "blackout"].map((name) => [name, SCHEDULED])),
    };
    const form = document.getElementById("job_form");
    const preview = document.getElementById("js-preview");
    if (!form || !preview) {
        return;
    }
    const schedule = form.querySelector("fieldset.js-schedule");

    const chosen = (name) => (form.querySelector(`input[name="${name}"]:checked`) || {}).value;
    const row = (name) => form.querySelector(`.form-row.field-${name}`);

    const showWhatMatters = () => {
        for (const fieldset of form.querySelectorAll("fieldset.js-only")) {
            fieldset.classList.toggle("js-off", !fieldset.classList.contains(`js-for-${chosen("kind")}`));
        }
        const when = chosen("when");
        for (const [name, whens] of Object.entries(SHOWN_FOR)) {
            row(name).classList.toggle("js-off", !whens.includes(when));
        }
    };

    const words = preview.querySelector(".js-words");
    const button = preview.querySelector("button");
    let latest = 0;

    const show = (answer) => {
        words.textContent = answer.words;
        words.classList.toggle("js-wrong", answer.wrong);
        for (const name of ["fires", "skipped", "warnings"]) {
            const part = preview.querySelector(`.js-${name}`);
            const lines = answer[name] || [];
            part.classList.toggle("js-off", lines.length === 0);
            (part.querySelector("ul") || part).replaceChildren(...lines.map((line) => {
                const item = document.createElement("li");
                item.textContent = line;
                return item;
            }));
        }
    };

    const ask = async () => {
        const mine = ++latest;
        const body = new URLSearchParams();
        for (const [name, value] of new FormData(form)) {
            if (schedule.querySelector(`[name="${name}"]`)) {
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
                : {words: "There is no preview now: the server refused it. Are you still signed in?", wrong: true};
        } catch {
            answer = {words: "There is no preview now: the server could not be reached.", wrong: true};
        }
        if (mine === latest) {
            preview.classList.remove("js-stale");
            show(answer);
        }
    };

    let timer;
    const askSoon = (event) => {
        if (schedule.contains(event.target)) {
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
