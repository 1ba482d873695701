namespace LoraNotebooks.Data;

/// <summary>How far the reading or preparing of a dataset has come.</summary>
/// <param name="Done">Images that are done, good or not.</param>
/// <param name="Total">All images.</param>
/// <param name="Errors">Errors found so far; the work goes on to find them all, and then fails.</param>
/// <param name="File">The image that was done last, as <see cref="ImageDatasetItem.File"/> names it.</param>
/// <param name="Image">What became of it; <see langword="null"/> where images are only checked, or where this one cannot be used.</param>
public sealed record PreparationProgress(int Done, int Total, int Errors, string File, PreparedImage? Image = null);

/// <summary>Counts what several threads get done, and tells it one by one.</summary>
internal sealed class PreparationCounter(int total, DatasetIssues issues, IProgress<PreparationProgress>? progress)
{
    private readonly Lock _gate = new();
    private int _done;

    /// <summary>One more image is done.</summary>
    public void Add(string file, PreparedImage? image = null)
    {
        if (progress is null)
        {
            return;
        }

        lock (_gate)
        {
            progress.Report(new(++_done, total, issues.ErrorCount, file, image));
        }
    }
}
