using System.Text.Json;
using System.Text.Json.Nodes;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace LoraNotebooks.Models.Vision;

/// <summary>
/// A small convolutional network that says how likely each tag is true of a 64×64 portrait. It measures what a base model or a LoRA draws,
/// so that a notebook can give an effect in figures.
/// </summary>
/// <remarks>Input [N, 3, H, W] in [-1, 1]; output logits [N, T], one per tag; the probability is their sigmoid.</remarks>
public sealed class TagClassifier : Module<Tensor, Tensor>
{
    private static readonly int[] Widths = [24, 48, 96, 160];
    private readonly Module<Tensor, Tensor> layers;

    /// <param name="tags">The tags, in the order of the logits.</param>
    public TagClassifier(IReadOnlyList<string> tags)
        : base(nameof(TagClassifier))
    {
        Tags = tags;
        var blocks = new List<(string, Module<Tensor, Tensor>)>();
        var channels = 3L;
        for (var i = 0; i < Widths.Length; i++)
        {
            blocks.Add(($"down{i}", Layers.Conv2d(channels, Widths[i], 3, stride: 2, padding: 1)));
            blocks.Add(($"norm{i}a", Layers.GroupNorm(8, Widths[i], 1e-5)));
            blocks.Add(($"act{i}a", SiLU()));
            blocks.Add(($"conv{i}", Layers.Conv2d(Widths[i], Widths[i], 3, padding: 1)));
            blocks.Add(($"norm{i}b", Layers.GroupNorm(8, Widths[i], 1e-5)));
            blocks.Add(($"act{i}b", SiLU()));
            channels = Widths[i];
        }

        // The place matters (hair above, shirt below), so the last 4×4 map is read as it is, not averaged.
        blocks.Add(("pool", AdaptiveAvgPool2d(4)));
        blocks.Add(("flatten", Flatten()));
        blocks.Add(("drop", Dropout(0.1)));
        blocks.Add(("head", Layers.Linear(channels * 16, tags.Count)));
        layers = Sequential(blocks);
        register_module("layers", layers);
    }

    /// <summary>The tags, in the order of the logits.</summary>
    public IReadOnlyList<string> Tags { get; }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => layers.call(input);

    /// <summary>The probability of every tag for each picture.</summary>
    /// <param name="pixels">Pictures [N, 3, H, W] in [-1, 1].</param>
    /// <returns>Probabilities [N, T].</returns>
    public Tensor Probabilities(Tensor pixels)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var training = this.training;
        eval();
        var result = call(pixels).sigmoid().MoveToOuterDisposeScope();
        train(training);
        return result;
    }

    /// <summary>The mean probability of one tag over some pictures.</summary>
    /// <param name="pixels">Pictures [N, 3, H, W] in [-1, 1].</param>
    /// <param name="tag">A tag of <see cref="Tags"/>.</param>
    /// <exception cref="ArgumentException">The classifier does not know the tag.</exception>
    public double Probability(Tensor pixels, string tag)
    {
        var index = Tags.ToList().IndexOf(tag);
        if (index < 0)
        {
            throw new ArgumentException($"The classifier does not know the tag '{tag}'. It knows: {string.Join(", ", Tags)}.", nameof(tag));
        }

        using var scope = NewDisposeScope();
        return Probabilities(pixels).select(1, index).mean().item<float>();
    }

    /// <summary>Loads a classifier from a folder with config.json and model.safetensors.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">The weights do not fit; all faults are listed.</exception>
    public static TagClassifier FromFolder(string folder) => ModelFolder.Load(folder, static path =>
    {
        using var config = JsonDocument.Parse(File.ReadAllBytes(path));
        return new TagClassifier([.. config.RootElement.GetProperty("tags").EnumerateArray().Select(static t => t.GetString()!)]);
    });

    /// <summary>Saves config.json and model.safetensors.</summary>
    /// <param name="folder">The folder to write.</param>
    /// <param name="dtype">The type of the saved weights. Default float16.</param>
    public void Save(string folder, ScalarType dtype = ScalarType.Float16) => ModelFolder.Save(
        this,
        folder,
        new JsonObject { ["_class_name"] = nameof(TagClassifier), ["tags"] = new JsonArray([.. Tags.Select(static tag => JsonValue.Create(tag))]) },
        ModelFolder.TransformersWeights,
        dtype);
}
