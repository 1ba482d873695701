using System.Text.Json.Nodes;

namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>What a cell holds.</summary>
public enum CellKind
{
    /// <summary>Source code with outputs.</summary>
    Code,

    /// <summary>Prose in Markdown.</summary>
    Markdown,

    /// <summary>Text that is passed on as it is.</summary>
    Raw,
}

/// <summary>One cell of a <see cref="Notebook"/>: a view of its JSON, in which everything unknown stays.</summary>
public sealed class NotebookCell
{
    private const string InteractivePrefix = "dotnet-interactive.";
    private const string WholeNotebook = "polyglot-notebook";

    private readonly JsonObject _json;

    internal NotebookCell(JsonObject json) => _json = json;

    /// <summary>The kind of the cell.</summary>
    public CellKind Kind => Notebook.KindOf((string)_json["cell_type"]!)!.Value;

    /// <summary>The identifier within the notebook (nbformat 4.5); null in older files.</summary>
    public string? Id
    {
        get => _json["id"] is JsonValue id ? (string?)id : null;
        set => _json["id"] = value;
    }

    /// <summary>The text of the cell, with <c>\n</c> between lines.</summary>
    public string Source
    {
        get => Notebook.JoinText(_json["source"]);
        set => _json["source"] = Notebook.SplitText(value);
    }

    /// <summary>The tags in the cell's metadata, e.g. <c>parameters</c>.</summary>
    public IReadOnlyList<string> Tags => _json["metadata"]?["tags"] is JsonArray tags
        ? [.. tags.OfType<JsonValue>().Select(tag => tag.TryGetValue(out string? text) ? text : null).OfType<string>()]
        : [];

    /// <summary>The language that the cell's metadata name, as .NET Interactive and Visual Studio Code write it; null where they name none.</summary>
    internal string? LanguageName
    {
        get
        {
            var metadata = _json["metadata"];
            var name = Text(metadata, "polyglot_notebook", "kernelName")
                ?? Text(metadata, "dotnet_interactive", "language")
                ?? Text(metadata, "vscode", "languageId");
            name = name?.StartsWith(InteractivePrefix, StringComparison.Ordinal) == true ? name[InteractivePrefix.Length..] : name;
            return string.IsNullOrWhiteSpace(name) || name == WholeNotebook ? null : name;

            static string? Text(JsonNode? metadata, string owner, string key) =>
                (metadata as JsonObject)?[owner] is JsonObject own && own[key] is JsonValue value && value.TryGetValue(out string? text) ? text : null;
        }
    }

    /// <summary>The outputs in nbformat's own layout; an empty list where there are none.</summary>
    public JsonArray Outputs => _json["outputs"] as JsonArray ?? [];

    /// <summary>Pictures that a Markdown cell carries in itself: file name to a bundle of MIME types.</summary>
    public JsonObject Attachments => _json["attachments"] as JsonObject ?? [];

    /// <summary>The number that Jupyter shows beside the cell; null before it ran.</summary>
    public int? ExecutionCount
    {
        get => _json["execution_count"] is JsonValue count && count.TryGetValue(out int number) ? number : null;
        set => _json["execution_count"] = value;
    }

    /// <summary>Replaces the outputs of a code cell.</summary>
    public void SetOutputs(IEnumerable<JsonObject> outputs) => _json["outputs"] = new JsonArray([.. outputs]);
}
