using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Whether a cell could run as it stands.</summary>
internal enum CompletenessStatus
{
    /// <summary>It parses.</summary>
    Complete,

    /// <summary>More text at its end could make it parse.</summary>
    Incomplete,

    /// <summary>It has a syntax error that no more text at its end repairs.</summary>
    Invalid,
}

/// <summary>The answer to whether a cell is complete.</summary>
/// <param name="Status">The answer.</param>
/// <param name="Indent">Of incomplete code the spaces that the next line starts with; else empty.</param>
internal sealed record Completeness(CompletenessStatus Status, string Indent = "")
{
    private const int IndentWidth = 4;

    // Errors that are reported where something was opened, not at the end where its closing is missing:
    // comment, string, verbatim string, hole of an interpolated string, raw string.
    private static readonly HashSet<string> Openings = ["CS1035", "CS1010", "CS1039", "CS8076", "CS8997"];

    // A raw string goes on over lines; the parser calls a cell that ends in its opening complete.
    private const string OpenRawString = "CS8997";

    // #endif and #endregion are missing; the parser calls such a cell complete.
    private static readonly HashSet<string> OpenRegions = ["CS1027", "CS1038"];

    /// <summary>Judges a cell by its syntax alone.</summary>
    public static Completeness Judge(string code)
    {
        var text = CellMagics.ToCSharp(code);
        var tree = CSharpSyntaxTree.ParseText(text, CellHistory.ParseOptions);
        var errors = tree.GetDiagnostics().Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error).ToArray();
        if (errors.Length == 0)
        {
            return new Completeness(CompletenessStatus.Complete);
        }

        var end = text.AsSpan().TrimEnd().Length;
        var canGoOn = !SyntaxFactory.IsCompleteSubmission(tree)
            || errors.Any(error => OpenRegions.Contains(error.Id) || error.Id == OpenRawString || IsOpenString(error));
        return canGoOn && errors.All(error => Openings.Contains(error.Id) || OpenRegions.Contains(error.Id) || error.Location.SourceSpan.End >= end)
            ? new Completeness(CompletenessStatus.Incomplete, NextIndent(text))
            : new Completeness(CompletenessStatus.Invalid);

        // A plain string ends with its line; while nothing follows, its quote can still come.
        bool IsOpenString(Diagnostic error) => error.Id == "CS1010" && text.AsSpan(error.Location.SourceSpan.Start).IndexOfAny('\r', '\n') < 0;
    }

    private static string NextIndent(string text)
    {
        var written = text.TrimEnd();
        var line = written[(written.LastIndexOfAny(['\r', '\n']) + 1)..];
        var indent = line.TakeWhile(letter => letter is ' ' or '\t').Sum(letter => letter == '\t' ? IndentWidth : 1);
        return new string(' ', indent + (written.EndsWith('{') ? IndentWidth : 0));
    }
}
