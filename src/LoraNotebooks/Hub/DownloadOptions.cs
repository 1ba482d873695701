namespace LoraNotebooks.Hub;

/// <summary>Which files of a model are fetched: only safetensors, JSON and text; pickled weights (.bin, .ckpt, .pt) never.</summary>
public sealed record DownloadOptions
{
    /// <summary>
    /// The variant of the weights, such as <c>fp16</c>; default the plain files. A component that has no such variant is fetched plain, one that
    /// has nothing else is fetched in the variant it has.
    /// </summary>
    public string? Variant { get; init; }

    /// <summary>
    /// Patterns of the files to fetch instead, with <c>*</c> for any letters: <c>unet/*</c>, <c>my-lora.safetensors</c>. Default: in a
    /// pipeline (with model_index.json) its components without the safety checker and without single-file checkpoints beside them;
    /// elsewhere everything.
    /// </summary>
    public IReadOnlyList<string> Files { get; init; } = [];
}
