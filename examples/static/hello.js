document.querySelector("output").textContent = "and its script is " + document.currentScript.src;
