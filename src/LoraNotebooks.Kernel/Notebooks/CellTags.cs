namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>The tags in a cell's metadata that change how it is run; the names are those of papermill, nbclient and nbconvert.</summary>
internal static class CellTags
{
    /// <summary>The cell declares what <c>-p</c> may set.</summary>
    public const string Parameters = "parameters";

    /// <summary>The cell was put in by an earlier run and holds the values that were given to it.</summary>
    public const string InjectedParameters = "injected-parameters";

    /// <summary>The cell may fail; its error is stored as output and the run goes on.</summary>
    public const string RaisesException = "raises-exception";

    private const string Skip = "skip";
    private const string SkipExecution = "skip-execution";

    /// <summary>Whether the cell is not to be executed.</summary>
    public static bool IsSkipped(this NotebookCell cell) => cell.Tags.Any(tag => tag is Skip or SkipExecution);

    /// <summary>Whether the cell may fail.</summary>
    public static bool MayFail(this NotebookCell cell) => cell.Tags.Contains(RaisesException);

    /// <summary>Whether an earlier run put the cell in.</summary>
    public static bool IsInjected(this NotebookCell cell) => cell.Tags.Contains(InjectedParameters);

    /// <summary>Whether the cell is a code cell that holds code.</summary>
    public static bool HasCode(this NotebookCell cell) => cell.Kind == CellKind.Code && cell.Source.AsSpan().Trim().Length > 0;
}
