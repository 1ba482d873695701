using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Models;

/// <summary>Where a parameter's values come from: a tensor of a file, as it is or in part or in another form.</summary>
/// <param name="File">The file.</param>
/// <param name="Key">The tensor's name in the file.</param>
/// <param name="Shape">The shape that results.</param>
/// <param name="View">Makes the wanted form of the stored one, as a view where it can be; default as stored.</param>
internal sealed record WeightSource(SafetensorsFile File, string Key, IReadOnlyList<long> Shape, Func<Tensor, Tensor>? View = null)
{
    /// <summary>A tensor as it is stored.</summary>
    public static WeightSource Whole(SafetensorsFile file, string key) => new(file, key, file.Tensors[key].Shape);

    /// <summary>Reads the values; the result owns its memory and no more than that.</summary>
    public Tensor Load(ScalarType dtype, Device? device)
    {
        if (View is null)
        {
            return File.Load(Key, dtype, device);
        }

        using var scope = NewDisposeScope();
        var part = View(File.Load(Key));
        return part.to(dtype, device ?? CPU, copy: true).contiguous().MoveToOuterDisposeScope();
    }
}
