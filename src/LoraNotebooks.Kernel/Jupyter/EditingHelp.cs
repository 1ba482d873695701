using System.Text.Json.Nodes;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>Completion, inspection and completeness, in the protocol's words.</summary>
internal sealed class EditingHelp : IDisposable
{
    /// <summary>Learns of a cell that later requests can see.</summary>
    public void Add(string code, IEnumerable<MetadataReference> references)
    {
    }

    /// <summary>Answers a <c>complete_request</c>.</summary>
    public Task<JsonObject> CompleteAsync(JupyterMessage request) => Task.FromResult(new JsonObject
    {
        ["matches"] = new JsonArray(),
        ["cursor_start"] = request.Number("cursor_pos", 0),
        ["cursor_end"] = request.Number("cursor_pos", 0),
        ["metadata"] = new JsonObject(),
    });

    /// <summary>Answers an <c>inspect_request</c>.</summary>
    public Task<JsonObject> InspectAsync(JupyterMessage request) => Task.FromResult(new JsonObject { ["found"] = false, ["data"] = new JsonObject(), ["metadata"] = new JsonObject() });

    /// <summary>Answers an <c>is_complete_request</c>.</summary>
    public static JsonObject Judge(JupyterMessage request)
    {
        var tree = CSharpSyntaxTree.ParseText(request.Text("code") ?? "", new CSharpParseOptions(LanguageVersion.Latest, kind: SourceCodeKind.Script));
        return new JsonObject { ["status"] = SyntaxFactory.IsCompleteSubmission(tree) ? "complete" : "incomplete", ["indent"] = "" };
    }

    public void Dispose()
    {
    }
}
