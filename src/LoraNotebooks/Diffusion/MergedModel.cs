using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>Makes a model folder whose weights contain LoRAs, for tools that know of none.</summary>
public static class MergedModel
{
    /// <summary>Adds LoRAs to a model's weights, W + Σ w·ΔW, and writes the result as a new model folder.</summary>
    /// <param name="model">The base model: a folder, or one original file; it stays as it is.</param>
    /// <param name="loras">The LoRAs, of any kind, and their weights w.</param>
    /// <param name="destination">The new folder.</param>
    /// <param name="dtype">The type of the weights in the new files, default float32; the sum is computed in float32.</param>
    /// <param name="strict">Whether what would be left out of a LoRA is an error. By default it is told in one line.</param>
    /// <exception cref="ArgumentException">There are no LoRAs, the folder is the base's own, or a sum is too large for the type.</exception>
    /// <exception cref="InvalidDataException">A LoRA does not fit the model; nothing is written.</exception>
    /// <exception cref="InvalidOperationException">A sum is not finite; nothing is written.</exception>
    public static void Write(string model, IReadOnlyList<(string Path, double Weight)> loras, string destination, ScalarType? dtype = null, bool strict = false)
    {
        ArgumentNullException.ThrowIfNull(loras);
        if (loras.Count == 0)
        {
            throw new ArgumentException("Got no LoRA, expected at least one to merge into the base model.");
        }

        if (Path.GetFullPath(model).TrimEnd('/') == Path.GetFullPath(destination).TrimEnd('/'))
        {
            throw new ArgumentException($"Got '{destination}' as the new folder, which is the base model's own. Give another one, so that the base stays.");
        }

        using var pipeline = StableDiffusionPipeline.Load(model, ScalarType.Float32);
        var attached = new List<StableDiffusionLora>();
        try
        {
            foreach (var (path, weight) in loras)
            {
                attached.Add(StableDiffusionLora.Load(pipeline, path, $"{attached.Count}", strict));
                attached[^1].Weight = weight;
            }

            attached.ForEach(static lora => lora.Merge());
            pipeline.Save(destination, dtype);
        }
        finally
        {
            attached.ForEach(static lora => lora.Dispose());
        }
    }
}
