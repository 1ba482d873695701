using LoraNotebooks.Formats;
using LoraNotebooks.Hub;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>What a model's files hold of one type.</summary>
/// <param name="Type">The type that it has in memory where none is asked for.</param>
/// <param name="Bytes">How many bytes of weights there are of it.</param>
/// <param name="Name">The type by its name in the files, e.g. "F8_E4M3", which becomes another type in memory.</param>
public sealed record StoredWeights(ScalarType Type, long Bytes, string Name)
{
    /// <summary>By type, the largest share first.</summary>
    internal static IReadOnlyList<StoredWeights> Of(IEnumerable<SafetensorInfo> tensors) =>
        [.. tensors
            .GroupBy(static tensor => (tensor.DType, tensor.StoredType))
            .Select(static group => new StoredWeights(group.Key.DType, group.Sum(static tensor => tensor.Length), group.Key.StoredType))
            .OrderByDescending(static stored => stored.Bytes)];
}

/// <summary>A Stable Diffusion model as its configurations and the headers of its files tell it, before any weight is read.</summary>
public sealed record PipelineOutline
{
    /// <summary>The full path of the folder or file.</summary>
    public required string Source { get; init; }

    /// <summary>The denoising network.</summary>
    public required UNetConfig UNet { get; init; }

    /// <summary>The autoencoder.</summary>
    public required AutoencoderKLConfig Vae { get; init; }

    /// <summary>The text encoders: one, or two in SDXL.</summary>
    public required IReadOnlyList<ClipTextConfig> TextEncoders { get; init; }

    /// <summary>The weights in the files, by type.</summary>
    public required IReadOnlyList<StoredWeights> Stored { get; init; }

    /// <summary>By how much the autoencoder shrinks images.</summary>
    public int DownsamplingFactor => 1 << (Vae.BlockOutChannels.Count - 1);

    /// <summary>The side in pixels of the images that the model was trained with.</summary>
    public int NativeSize => (UNet.SampleSize ?? 64) * DownsamplingFactor;

    /// <summary>Whether it is SDXL.</summary>
    public bool IsXL => UNet.HasAddedConditions;

    /// <summary>Reads configurations and headers.</summary>
    /// <param name="source">As for <see cref="StableDiffusionPipeline.Load"/>.</param>
    /// <param name="options">For a single file: what it does not tell, as for <see cref="StableDiffusionPipeline.FromFile"/>.</param>
    /// <exception cref="FileNotFoundException">There is no such model, or something of it is missing.</exception>
    /// <exception cref="InvalidDataException">It is something else, or damaged.</exception>
    public static PipelineOutline Read(string source, SingleFileOptions? options = null)
    {
        var path = ModelSource.Resolve(source);
        return File.Exists(path) ? SingleFile.Outline(path, options ?? new SingleFileOptions()) : OfFolder(path);
    }

    private static PipelineOutline OfFolder(string folder)
    {
        var index = PipelineFolder.Read(folder);
        string[] encoders = [.. index.EncoderSuffixes.Select(static suffix => "text_encoder" + suffix)];
        return new PipelineOutline
        {
            Source = Path.GetFullPath(folder),
            UNet = UNetConfig.Load(ConfigOf("unet")),
            Vae = AutoencoderKLConfig.Load(ConfigOf("vae")),
            TextEncoders = [.. encoders.Select(part => ClipTextConfig.Load(ConfigOf(part)))],
            Stored = StoredWeights.Of(((string[])["unet", "vae", .. encoders])
                .SelectMany(part => WeightFiles.Find(Path.Combine(folder, part)))
                .SelectMany(Header)),
        };

        string ConfigOf(string part) => Path.Combine(folder, part, ModelFolder.Config);
    }

    private static IReadOnlyList<SafetensorInfo> Header(string path)
    {
        using var file = SafetensorsFile.Open(path);
        return [.. file.Tensors.Values];
    }
}
