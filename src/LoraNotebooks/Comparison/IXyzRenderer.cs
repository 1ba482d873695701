using LoraNotebooks.Data;

namespace LoraNotebooks.Comparison;

/// <summary>Paints one cell of a grid.</summary>
/// <remarks>Calls come ordered so that what is costly to change changes least often: keep what the last call has loaded.</remarks>
public interface IXyzRenderer
{
    /// <summary>
    /// Every fault that would keep these settings from being painted, such as a file that is missing; asked for all cells before the first is painted.
    /// </summary>
    IReadOnlyList<string> Validate(XyzSettings settings) => [];

    /// <summary>
    /// What will be painted otherwise than the settings say, such as prompts that are cut off; told before the first cell is painted. By default nothing.
    /// </summary>
    /// <param name="settings">Those of all cells.</param>
    IReadOnlyList<string> Warnings(IReadOnlyList<XyzSettings> settings) => [];

    /// <summary>The image of these settings; the same settings give the same image.</summary>
    RgbImage Render(XyzSettings settings, CancellationToken cancellationToken);

    /// <summary>The settings with all named that they leave to the model, so that they alone give the same image; by default as they are.</summary>
    /// <param name="settings">Settings that were painted.</param>
    XyzSettings Resolve(XyzSettings settings) => settings;

    /// <summary>What decides the image beside the settings, by names in small letters with underscores, e.g. the model; by default nothing.</summary>
    /// <param name="settings">Settings that were painted.</param>
    IReadOnlyDictionary<string, string> Facts(XyzSettings settings) => new Dictionary<string, string>();
}
