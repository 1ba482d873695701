using LoraNotebooks.Data;

namespace LoraNotebooks.Comparison;

/// <summary>A finished cell of a grid.</summary>
/// <param name="X">Its column.</param>
/// <param name="Y">Its row.</param>
/// <param name="Z">Its grid, of the stack.</param>
/// <param name="Settings">What the image was made with, with what they left to the model as far as the renderer tells it.</param>
/// <param name="Image">The image.</param>
/// <param name="IsReused">Whether another cell had the same settings, so that nothing was computed.</param>
public sealed record XyzCell(int X, int Y, int Z, XyzSettings Settings, RgbImage Image, bool IsReused)
{
    /// <summary>What decided the image beside the settings, see <see cref="IXyzRenderer.Facts"/>.</summary>
    public IReadOnlyDictionary<string, string> Facts { get; init; } = new Dictionary<string, string>();
}

/// <summary>How far a grid has come.</summary>
/// <param name="Done">Finished cells, those that failed among them.</param>
/// <param name="Total">All cells.</param>
/// <param name="Cell">The cell that was finished last; <see langword="null"/> where it failed.</param>
public sealed record XyzProgress(int Done, int Total, XyzCell? Cell)
{
    /// <summary>The cell that failed last, where that is what is reported.</summary>
    public XyzFailure? Failure { get; init; }
}

/// <summary>A cell that could not be painted; the others were.</summary>
/// <param name="X">Its column.</param>
/// <param name="Y">Its row.</param>
/// <param name="Z">Its grid, of the stack.</param>
/// <param name="Settings">What it should have been made with.</param>
/// <param name="Message">Why not.</param>
public sealed record XyzFailure(int X, int Y, int Z, XyzSettings Settings, string Message);
